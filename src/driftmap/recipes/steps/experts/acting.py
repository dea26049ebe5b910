"""What does the model do under each action on experts, read once for each set?

Every reading is kept as soon as it is there. So a study that is killed among hundreds
of readings goes on with the next one.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.places import ExpertPlace
from driftmap.evaluate.refusal_odds import OutcomeSamples, example_outcomes
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.routing_law import RoutingLaw
from driftmap.intervene.experts import ablated_experts
from driftmap.intervene.rerouting import promoted_experts, suppressed_experts
from driftmap.results.expert_effects import Action, ExampleOutcomes
from driftmap.results.plain import from_plain, to_plain
from driftmap.store.plain import load_json, save_json

KIND = "driftmap.expert_outcomes"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A model and what it is read on.

    Args:
        model: As it now is.
        banks: Its banks.
        samples: Held-out texts.
        batch_size: Samples per forward pass (count).
        laws: Laws of its routers by path of the bank; only suppressing and promoting
            need them.
    """

    model: PreTrainedModel | PeftModel
    banks: Sequence[ExpertBank]
    samples: OutcomeSamples
    batch_size: int = 16
    laws: Mapping[str, RoutingLaw] = field(default_factory=dict)

    def under(
        self, action: Action, experts: Iterable[ExpertPlace]
    ) -> AbstractContextManager[None]:
        """Act on experts for as long as the block runs; on none, nothing is done."""
        places = tuple(experts)
        if not places:
            return nullcontext()
        if action == "ablate":
            return ablated_experts(self.model, self.banks, places)
        change = suppressed_experts if action == "suppress" else promoted_experts
        return change(self.model, self.banks, self.laws, places)

    def read(self) -> ExampleOutcomes:
        """Read the model as it now is."""
        return example_outcomes(self.model, self.samples, batch_size=self.batch_size)


class Readings:
    """Reads a subject under actions, each set of experts once."""

    def __init__(self, subject: Subject, kept: Path | None = None) -> None:
        """Begin, or go on.

        Args:
            subject: What is read; it stays the same for as long as readings are kept.
            kept: Folder of readings, a file each; None keeps them in memory alone.
        """
        self.subject = subject
        self._folder = kept
        self._read: dict[str, ExampleOutcomes] = {}

    def intact(self) -> ExampleOutcomes:
        """What the model does when nothing is done to it."""
        return self.under("ablate", ())

    def under(self, action: Action, experts: Iterable[ExpertPlace]) -> ExampleOutcomes:
        """What it does under an action on a set of experts, in whatever order."""
        places = tuple(experts)
        name = _name(action, places)
        if name not in self._read:
            self._read[name] = self._found(name) or self._made(name, action, places)
        return self._read[name]

    def _found(self, name: str) -> ExampleOutcomes | None:
        file = None if self._folder is None else self._folder / f"{name}.json"
        if file is None or not file.exists():
            return None
        loaded = load_json(file, KIND)
        return from_plain(ExampleOutcomes, loaded["outcomes"], str(file))

    def _made(
        self, name: str, action: Action, places: tuple[ExpertPlace, ...]
    ) -> ExampleOutcomes:
        with self.subject.under(action, places):
            made = self.subject.read()
        if self._folder is not None:
            held = {"outcomes": to_plain(made)}
            save_json(self._folder / f"{name}.json", held, KIND)
        return made


def _name(action: Action, experts: Sequence[ExpertPlace]) -> str:
    """The same for the same set, and for all actions on none."""
    keys = sorted({expert.key for expert in experts})
    text = "\n".join([action, *keys]) if keys else "intact"
    return sha256(text.encode()).hexdigest()[:32]
