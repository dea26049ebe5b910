"""Which options say how texts are read token by token?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section

FREE = ("out", "reading.colour", "source.device", "source.device_map")
"""Settings that change where or in which colours, but not what comes out."""

REDOES: Mapping[str, tuple[str, ...]] = {
    "reading.by": ("report",),
    "reading.sure_below": ("report",),
    "reading.wrong_above": ("report",),
    "reading.lens": ("report",),
    "reading.lens_tokens": ("lens", "report"),
}
"""Settings that may change within a run, and the steps that are then done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """What is read: texts as they stand, or what the model writes."""

    text: tuple[str, ...] = ()
    """A text to read as it stands (text; may be repeated)."""

    file: tuple[str, ...] = ()
    """A text to read from a .txt file, or rows with a column `text` that are joined by
    blank lines (file, known name or hub name; may be repeated)."""

    prompt: tuple[str, ...] = ()
    """A prompt that the model goes on from; its own words are read as it writes them
    (text; may be repeated)."""

    template: Literal["chat", "bare"] = "chat"
    """How prompts are put: by the model's chat template where it has one, or bare
    (name)."""

    max_new_tokens: int = 64
    """Longest answer to a prompt (tokens)."""

    temperature: float = 0.0
    """Chance in answers: 0 for the most likely token each time, 1 for the model's own
    distribution (ratio). Readings are of the model's own distribution in
    any case."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--max-new-tokens", self.max_new_tokens, 1)
        require_at_least("--temperature", self.temperature, 0)

    def require_work(self) -> None:
        """Refuse to read nothing.

        Raises:
            UsageError: There is no text, or an option has nothing to work on.
        """
        if not (self.text or self.file or self.prompt):
            raise UsageError(
                "there is nothing to read; give --text, --file or --prompt"
            )
        if not self.prompt:
            for name, given, usual in (
                ("--template", self.template, "chat"),
                ("--max-new-tokens", self.max_new_tokens, 64),
                ("--temperature", self.temperature, 0.0),
            ):
                if given != usual:
                    raise UsageError(
                        f"{name} is about answers, and there is no --prompt to answer"
                    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """How tokens are read, and what is pointed at."""

    window: int | None = None
    """Most tokens of a text that are read at once (tokens); by default 2,048, or all
    that the model reads at once where that is less."""

    stride: int | None = None
    """Tokens of context that each counted token of a long text has at least: windows
    overlap by so many (tokens); half the window by default."""

    top: int = 5
    """Most likely tokens that are kept for each place (count)."""

    by: Literal["surprise", "entropy", "relative-entropy"] = "surprise"
    """What the terminal colours by: how unexpected a token was, how unsure the model,
    or the latter as a share of the most there can be, ln of the vocabulary's size
    (name). The page has surprise, and entropy in one of its forms."""

    sure_below: float = 1.0
    """Entropy below which the model counts as sure (nats)."""

    wrong_above: float = 3.0
    """Surprise above which it counts as wrong: 3 is a probability below 0.05 (nats).
    Tokens where it was sure and wrong are marked."""

    lens: bool = False
    """Look at each block's output through the model's own last norm and head (yes or
    no)."""

    lens_tokens: int = 48
    """First counted tokens of each text that the lens looks at (count)."""

    colour: Literal["auto", "always", "never"] = "auto"
    """When the terminal shows colours: where it is one and `NO_COLOR` is not set
    (auto), always or never (name)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing.

        Raises:
            UsageError: A count is too low, or windows overlap whole.
        """
        require_at_least("--top", self.top, 1)
        require_at_least("--lens-tokens", self.lens_tokens, 1)
        if self.window is not None:
            require_at_least("--window", self.window, 2)
        if self.stride is not None:
            require_at_least("--stride", self.stride, 1)
            if self.window is not None and self.stride >= self.window:
                raise UsageError(
                    f"--stride {self.stride}: windows of {self.window} tokens would "
                    f"never move on; give at most {self.window - 1}"
                )


Texts = Annotated[TextOptions, section("Data", 2)]
Reading = Annotated[ReadingOptions, section("Reading", 3)]
