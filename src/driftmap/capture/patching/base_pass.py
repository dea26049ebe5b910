"""What do the clean and the corrupted runs hold at every place?

One forward pass: the clean row first, then one row per draw of noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from jaxtyping import Float, Int64
from torch import Tensor, nn

from driftmap.capture.patching.prefix import Recorder
from driftmap.capture.patching.states import editing_states, states_of
from driftmap.capture.patching.traced import Traced, answer_logits
from driftmap.core.errors import MeasureError
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import TraceKind
from driftmap.signals.traces import Corruption


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BasePass:
    """States of a clean row and of S corrupted ones.

    Args:
        traced: The model.
        token_ids: What is fed, one row.
        num_prompt: T, tokens of the prompt (count).
        corruption: What was done to rows 1 to S.
        entered: What enters the first block.
        outputs: By path, what a module gave; of every block, and of the modules that
            were asked for.
        logits: At the places of the answer.
        forms: Of each block, how many values it returns; None where it returns hidden
            states alone.
        passes_more: Something else than hidden states goes from block to block.
        recorder: Keys and values of every layer; None where none were kept.
    """

    traced: Traced
    token_ids: Int64[Tensor, "1 token"]
    num_prompt: int
    corruption: Corruption
    entered: Float[Tensor, "row token width"]
    outputs: Mapping[str, Float[Tensor, "row token width"]]
    logits: Float[Tensor, "row answer vocabulary"]
    forms: Sequence[int | None]
    passes_more: bool
    recorder: Recorder | None

    @property
    def num_draws(self) -> int:
        """Draws, S."""
        return len(self.corruption.values)

    @property
    def num_tokens(self) -> int:
        """Tokens that are fed: those of the prompt, and the answer's but the last."""
        return self.token_ids.shape[1]

    @property
    def num_answers(self) -> int:
        """Tokens of the answer, m."""
        return self.num_tokens - self.num_prompt + 1

    @property
    def num_layers(self) -> int:
        """Blocks, L."""
        return self.traced.num_layers

    def block_input(self, layer: int) -> Float[Tensor, "draw token width"]:
        """What enters a block in the corrupted rows."""
        states = self.entered
        if layer:
            states = self.outputs[self.traced.sites.blocks[layer - 1]]
        return states[1:]

    def clean(self, path: str, token: int) -> Float[Tensor, "row width"]:
        """What a module gave at a token in the clean row, as one row."""
        return self.outputs[path][:1, token]

    def corrupted(self, path: str, token: int) -> Float[Tensor, "draw width"]:
        """What a module gave at a token in the corrupted rows."""
        return self.outputs[path][1:, token]


def run_base(
    traced: Traced,
    prompt: EncodedFact,
    corruption: Corruption,
    kinds: Sequence[TraceKind],
    *,
    keeps_keys: bool,
) -> BasePass:
    """Run a prompt clean and corrupted.

    Args:
        traced: The model, in eval mode.
        prompt: With its answer.
        corruption: S draws.
        kinds: What will be put back or held: the outputs of its modules are kept.
        keeps_keys: Keys and values are kept too, for what starts after them.

    Raises:
        MeasureError: The model never called one of the modules.
    """
    token_ids = traced.token_ids(prompt)
    num_rows, num_tokens = 1 + len(corruption.values), token_ids.shape[1]
    paths = list(traced.sites.blocks)
    for kind in kinds:
        paths += traced.places(kind).values()
    paths = list(dict.fromkeys(paths))
    outputs: dict[str, Tensor] = {}
    calls = _Calls()
    recorder = Recorder() if keeps_keys else None
    with ExitStack() as stack:
        stack.enter_context(corrupting(traced, num_tokens, corruption, after=1))
        modules = [traced.module(path) for path in paths]
        keep = partial(_keep, paths, outputs)
        stack.enter_context(editing_states(modules, num_tokens, keep))
        stack.enter_context(calls.noted(traced.blocks))
        logits = answer_logits(
            traced.model,
            token_ids.expand(num_rows, -1),
            num_tokens - prompt.num_prompt + 1,
            recorder,
        )
    missing = [path for path in paths if path not in outputs]
    if missing:
        raise MeasureError(
            f"{missing[0]}: the model never called this module, so nothing can be put "
            "back there"
        )
    return BasePass(
        traced=traced,
        token_ids=token_ids,
        num_prompt=prompt.num_prompt,
        corruption=corruption,
        entered=calls.entered[0],
        outputs=outputs,
        logits=logits,
        forms=[len(one) if isinstance(one, tuple) else None for one in calls.returned],
        passes_more=calls.passes_more,
        recorder=recorder,
    )


@contextmanager
def corrupting(
    traced: Traced, num_tokens: int, corruption: Corruption, *, after: int
) -> Iterator[None]:
    """Corrupt the output of the embedding for as long as the block runs.

    Args:
        traced: The model.
        num_tokens: That are fed.
        corruption: One draw per row.
        after: Rows before these, which stay clean (count).
    """
    edit = partial(_corrupt, corruption, after)
    with editing_states([traced.embedding], num_tokens, edit):
        yield


def _corrupt(
    corruption: Corruption, after: int, _number: int, states: Tensor
) -> Tensor | None:
    values = corruption.values.to(states)
    changed = states.clone()
    span = changed[after:, corruption.start : corruption.start + values.shape[1]]
    span.copy_(values) if corruption.replaces else span.add_(values)
    return changed


def _keep(
    paths: Sequence[str], outputs: dict[str, Tensor], number: int, states: Tensor
) -> None:
    outputs[paths[number]] = states.detach().clone()


@dataclass(slots=True, kw_only=True, eq=False)
class _Calls:
    """What enters the first block, and what each returns.

    Args:
        entered: Hidden states.
        returned: By every block so far.
        passes_more: A block was given something that one before it returned beside
            hidden states.
    """

    entered: list[Tensor] = field(default_factory=list)
    returned: list[object] = field(default_factory=list)
    passes_more: bool = False

    @contextmanager
    def noted(self, blocks: Sequence[nn.Module]) -> Iterator[None]:
        """Note every call of a block for as long as the block of code runs."""
        handles = []
        try:
            for block in blocks:
                handles += [
                    block.register_forward_pre_hook(self._enter, with_kwargs=True),
                    block.register_forward_hook(self._leave),
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(
        self,
        _block: nn.Module,
        args: tuple[object, ...],
        named: Mapping[str, object],
    ) -> None:
        if not self.entered:
            states = args[0] if args else named["hidden_states"]
            assert isinstance(states, Tensor)
            self.entered.append(states.detach().clone())
        more = [
            value
            for output in self.returned
            if isinstance(output, tuple)
            for value in output[1:]
            if value is not None
        ]
        given = (*args, *named.values())
        self.passes_more |= any(one is value for one in given for value in more)

    def _leave(self, _block: nn.Module, _inputs: object, output: object) -> None:
        states_of(output)
        self.returned.append(output)
