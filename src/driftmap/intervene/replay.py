"""What does a model do when its tokens go where another model sent them?

Choices and weights are recorded text by text and put in place of the model's own at
the same tokens. Nothing cascades: what an expert says may change, who is asked may not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from torch import Tensor, nn

from driftmap.core.errors import MeasureError
from driftmap.families.bank_calls import Told, telling
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.modules import base_model

_UNKNOWN = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedChoices:
    """Where each batch of texts was sent, bank by bank.

    Args:
        by_texts: By token ids and padding of a batch, then by path of the bank.
    """

    by_texts: dict[str, dict[str, Told]] = field(default_factory=dict)


@contextmanager
def recorded_choices(
    model: nn.Module, banks: Sequence[ExpertBank]
) -> Iterator[RecordedChoices]:
    """Note where tokens are sent for as long as the block runs.

    Args:
        model: Read on whole texts, without a cache.
        banks: Its banks.

    Yields:
        What has been noted so far, in the memory of the processor.

    Raises:
        FamilyError: A bank is not told which experts its tokens get.
    """
    recorded = RecordedChoices()
    texts = _Texts()

    def note(bank: ExpertBank, told: Told) -> None:
        choices = recorded.by_texts.setdefault(texts.current, {})
        choices[bank.place.path] = Told(
            chosen=told.chosen.detach().cpu(), weights=told.weights.detach().cpu()
        )

    with texts.known(model), telling(model, banks, note):
        yield recorded


@contextmanager
def replayed_choices(
    model: nn.Module, banks: Sequence[ExpertBank], recorded: RecordedChoices
) -> Iterator[None]:
    """Send tokens where they were sent before for as long as the block runs.

    Args:
        model: Of the same layout as the recorded one, read in the same batches.
        banks: Its banks.
        recorded: From `recorded_choices`.

    Raises:
        FamilyError: A bank is not told which experts its tokens get.
        MeasureError: While the model runs: a batch was not recorded.
    """
    texts = _Texts()

    def tell(bank: ExpertBank, told: Told) -> Told:
        choices = recorded.by_texts.get(texts.current, {}).get(bank.place.path)
        if choices is None:
            raise MeasureError(
                f"{bank.place.path}: no choice was recorded for these texts; record "
                "and replay the same texts in the same batches"
            )
        return Told(
            chosen=choices.chosen.to(told.chosen),
            weights=choices.weights.to(told.weights),
        )

    with texts.known(model), telling(model, banks, tell):
        yield


class _Texts:
    """Knows which batch a model is reading."""

    def __init__(self) -> None:
        self.current = _UNKNOWN

    @contextmanager
    def known(self, model: nn.Module) -> Iterator[None]:
        base = base_model(model)
        handle = base.register_forward_pre_hook(self._enter, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _enter(
        self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        ids = args[0] if args else kwargs.get("input_ids")
        if not isinstance(ids, Tensor) or kwargs.get("past_key_values") is not None:
            raise MeasureError(
                "choices of experts are recorded and replayed on whole texts; give "
                "token ids and no cache"
            )
        seen = sha256(repr(tuple(ids.shape)).encode())
        for tensor in (ids, kwargs.get("attention_mask")):
            if isinstance(tensor, Tensor):
                seen.update(tensor.detach().cpu().long().numpy().tobytes())
        self.current = seen.hexdigest()
