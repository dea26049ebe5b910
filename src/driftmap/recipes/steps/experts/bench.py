"""What do all steps of a study of experts share?"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.evaluate.refusal_odds import opening_ids
from driftmap.families.expert_spec import ExpertBank
from driftmap.load.encoding import encoded_sha256
from driftmap.recipes.expert_options import (
    ExpertCheckOptions,
    ExpertKeptOptions,
    ExpertTuningOptions,
    IdentifyOptions,
    ItemOptions,
)
from driftmap.recipes.steps import bench
from driftmap.recipes.steps.experts.passes import ExpertReader, Passed, PassName
from driftmap.recipes.steps.experts.reading import ExpertData
from driftmap.recipes.steps.experts.sides import Sides, prompt_of
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch, Positions
from driftmap.stats.experts.paired import Chance

READ_AT_ONCE = 4
"""Batches of training that a pass without gradients reads together, in less memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertPlan:
    """What is asked of a study of experts.

    Args:
        items: Which requests, and the wanted answer.
        identify: How experts are chosen.
        tune: How they are tuned.
        checks: What is tried to believe it or not.
        kept: What is written down.
    """

    items: ItemOptions
    identify: IdentifyOptions
    tune: ExpertTuningOptions
    checks: ExpertCheckOptions
    kept: ExpertKeptOptions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertBench:
    """The study, the model's banks, and every text as tokens.

    Args:
        study: Run folder, model and seed.
        banks: Banks that can be chosen from, in model order.
        data: What was read.
        sides: The same as tokens.
        plan: What is asked.
    """

    study: bench.Study
    banks: tuple[ExpertBank, ...]
    data: ExpertData
    sides: Sides
    plan: ExpertPlan

    @property
    def routers(self) -> tuple[str, ...]:
        """Names of the routers' own parameters, in model order."""
        return tuple(name for bank in self.banks for name in bank.router.parameters)

    @property
    def inputs(self) -> dict[str, object]:
        """What every result of the study depends on."""
        sides = self.sides
        fed = (sides.unsafe, sides.safe, sides.unsafe_text, sides.asked, sides.benign)
        return {
            "model": self.study.loaded.identity.sha256,
            "seed": self.study.seed,
            "samples": encoded_sha256(*fed),
        }

    @property
    def read_size(self) -> int:
        """Samples that are read at once where no gradient is held."""
        return READ_AT_ONCE * self.plan.tune.batch_size

    @property
    def chance(self) -> Chance:
        """What intervals over prompts take to be chance."""
        items = (*self.sides.train, *self.sides.held_out)
        return Chance(
            seed=self.study.seed,
            goal_of={item.id: item.goal for item in items if item.goal},
            num_resamples=self.plan.identify.num_bootstrap,
        )

    def batches(
        self, samples: Sequence[EncodedSample], positions: Positions = "response"
    ) -> tuple[Batch, ...]:
        """Pad samples into batches on the model's device."""
        size = self.plan.tune.batch_size
        loaded = self.study.loaded
        return bench.batches_of(loaded, samples, size, positions=positions)

    def routed_batches(self, samples: Sequence[EncodedSample]) -> tuple[Batch, ...]:
        """The same, with the tokens observed whose routing counts."""
        return self.reader.routed_batches(samples, 0)

    @property
    def reader(self) -> ExpertReader:
        """Reads what samples say of every expert, as the model now is."""
        return ExpertReader(
            loaded=self.study.loaded,
            banks=self.banks,
            identify=self.plan.identify,
            batch_size=self.plan.tune.batch_size,
            first_ids=opening_ids(self.sides.unsafe),
        )

    @property
    def passes(self) -> dict[PassName, tuple[EncodedSample, ...]]:
        """Samples of every pass that the methods rank experts by."""
        sides, methods = self.sides, self.plan.identify.methods
        found: dict[PassName, tuple[EncodedSample, ...]] = {}
        if "gradient" in methods:
            found["unsafe"] = sides.unsafe
            found |= {"contrast": sides.contrast} if sides.contrast else {}
        if "routing" in methods:
            found |= {"unsafe text": sides.unsafe_text, "safe text": sides.safe_text}
        if "effect" in methods:
            found["prompts"] = tuple(map(prompt_of, sides.unsafe))
        return found

    @property
    def passed(self) -> Passed:
        """What these passes leave when they are read in this process."""
        return Passed(read=lambda name: self.reader.read(name, self.passes[name]))
