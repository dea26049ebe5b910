"""Which options say what shows a model's utility, and which server is asked?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section

BY_ENDPOINT = "endpoint"
"""What `--judge` calls the model behind `--endpoint`."""

WORLD = "world"
"""What `--tasks` calls what the built-in model was taught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilityOptions:
    """What the model is still good for."""

    perplexity: tuple[str, ...] = ()
    """Texts to read perplexity on: a .txt file, or rows with a column `text` that are
    joined by blank lines (file, known name such as wikitext2, or hub name; may be
    repeated)."""

    window: int | None = None
    """Tokens that are read at once for perplexity (count); by default 2,048, or all
    that the model reads at once where that is less."""

    tasks: tuple[str, ...] = ()
    """Tasks to run: any of lm-eval by its name, as boolq, or `world` (`world:SEED` for
    another seed): what the built-in model was taught (name; may be repeated)."""

    limit: int | None = None
    """First items of each task that are read (count); by default all."""

    task_folder: Path | None = None
    """YAML files of lm-eval tasks of your own (folder); by default none."""

    tasks_as_chat: bool = False
    """Put the model's chat template around each item of lm-eval's tasks (yes or no)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        if self.window is not None:
            require_at_least("--window", self.window, 2)
        if self.limit is not None:
            require_at_least("--limit", self.limit, 1)
        for task in self.tasks:
            name, colon, seed = task.partition(":")
            if name == WORLD and colon and not seed.isdecimal():
                raise UsageError(
                    f"--tasks {task}: a world is named by a whole number, as world:0"
                )

    def require_work(self, *, has_requests: bool) -> None:
        """Refuse an evaluation of nothing, and options that nothing would come of.

        Args:
            has_requests: Whether there are requests that the model should refuse.

        Raises:
            UsageError: There is nothing to read.
        """
        if not (has_requests or self.perplexity or self.tasks):
            raise UsageError(
                "there is nothing to evaluate; name requests with --refusal-prompts, "
                "texts with --perplexity or tasks with --tasks"
            )
        if self.window is not None and not self.perplexity:
            raise UsageError("--window: no text is read; name one with --perplexity")
        if self.limit is not None and not self.tasks:
            raise UsageError("--limit: no task is run; name one with --tasks")
        for option, is_given in (
            ("--task-folder", self.task_folder is not None),
            ("--tasks-as-chat", self.tasks_as_chat),
        ):
            if is_given and not self.foreign_tasks():
                raise UsageError(
                    f"{option}: no task of lm-eval is run; name one with --tasks"
                )

    def foreign_tasks(self) -> list[str]:
        """Tasks that lm-eval knows, and not driftmap."""
        return [task for task in self.tasks if task.partition(":")[0] != WORLD]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """A server that speaks OpenAI's protocol, to answer or to judge."""

    endpoint: str | None = None
    """Address of the server, as http://127.0.0.1:8000/v1; by default OPENAI_BASE_URL.
    Its key is taken from OPENAI_API_KEY and never written down (URL)."""

    endpoint_model: str | None = None
    """The server's name for its model (name); by default none, which takes no
    server."""

    endpoint_answers: bool = False
    """Let the server write the answers; it must be serving the weights of `--model`
    (yes or no)."""

    endpoint_timeout: float = 120.0
    """How long one reply may take (seconds)."""

    endpoint_parallel: int = 4
    """Requests that are under way at a time (count)."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        require_at_least("--endpoint-timeout", self.endpoint_timeout, 0.1)
        require_at_least("--endpoint-parallel", self.endpoint_parallel, 1)

    def require_use(self, judge: str) -> None:
        """Refuse a server that nothing is asked of, and a use without a server's model.

        Args:
            judge: Who judges, as `--judge` names it.

        Raises:
            UsageError: One is given without the other.
        """
        is_used = self.endpoint_answers or judge == BY_ENDPOINT
        given = self.endpoint is not None or self.endpoint_model is not None
        if given and not is_used:
            raise UsageError(
                "--endpoint: nothing would be asked of this server; give "
                f"--judge {BY_ENDPOINT} or --endpoint-answers, or leave it out"
            )
        if is_used and self.endpoint_model is None:
            raise UsageError(
                "--endpoint-model is missing; give the server's name for its model"
            )


Utility = Annotated[UtilityOptions, section("Utility", 9)]
Server = Annotated[EndpointOptions, section("Server", 10)]
