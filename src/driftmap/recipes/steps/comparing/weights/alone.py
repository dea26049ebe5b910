"""What did an adapter change, where the model it was made for is not at hand?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from driftmap.core.places import Part, Site, canonical_order
from driftmap.load.factors_alone import (
    FactorsAlone,
    ModuleFactors,
    read_factors_alone,
)
from driftmap.load.identity import weights_sha256
from driftmap.load.other_changes import part_of
from driftmap.load.training_runs import CONFIG, TrainingRun
from driftmap.measure.drift import changed_matrix
from driftmap.recipes.steps.comparing.weights.carrying import WEIGHTS, WEIGHTS_KIND
from driftmap.recipes.steps.comparing.weights.measuring import measured
from driftmap.results.weight_changes import OtherTensor, WeightChanges
from driftmap.signals.changes import DoraFactors
from driftmap.store.arrays_apart import save_apart
from driftmap.store.files import sha256_of
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

NO_BASE = (
    "The base is not at hand: lengths and directions of the changes come from the "
    "adapter's factors and are exact, and nothing is said of the sizes of the weights "
    "under them, nor of matrices that the adapter leaves alone."
)


def weights_alone_step(run: RunDir, tuned: TrainingRun) -> StepOutcome:
    """Measure what an adapter adds, from its factors alone, and keep it.

    Args:
        run: Where the result goes; read again by `read_weights`.
        tuned: The adapter; of several checkpoints the last one counts.

    Raises:
        ModelError: The folder holds no adapter, a broken one, or one that is not plain
            LoRA or DoRA.
    """
    folder = tuned.last

    def make(target: Path) -> None:
        found = read_factors_alone(folder, tuned.checkpoints.get(0))
        save_apart(target, WEIGHTS, weights_alone(found), WEIGHTS_KIND)

    inputs = {
        "base": None,
        "adapter": [weights_sha256(folder), sha256_of(folder / CONFIG)],
    }
    return run.step(WEIGHTS, inputs, make)


def weights_alone(found: FactorsAlone) -> WeightChanges:
    """Measure what factors add, one module at a time.

    Args:
        found: All that the adapter's file tells.
    """
    plain = [one for one in found.modules if not isinstance(one.change, DoraFactors)]
    sites = {_site(one): one for one in plain if one.layer is not None}
    read = measured(
        sorted(sites, key=canonical_order),
        {site: one.change for site, one in sites.items()},
        None,
    )
    return WeightChanges(
        is_adapter=True,
        num_tensors=0,
        num_equal=0,
        num_weights=0,
        num_open=0,
        cells=read.cells,
        matrices=read.matrices,
        others=tuple(_outside([one for one in plain if one.layer is None])),
        banks=(),
        groups=(),
        cautions=tuple(_cautions(found)),
        num_unmeasured=len(found.modules) - len(plain) + len(found.left_out),
    )


def _site(module: ModuleFactors) -> Site:
    """A fused map stays whole: how its rows are cut stands in the base alone."""
    num_rows, num_columns = module.shape
    part: Part = module.parts[0] if len(module.parts) == 1 else "block"
    return Site(
        path=module.path,
        layer=module.layer or 0,
        part=part,
        num_rows=num_rows,
        num_columns=num_columns,
    )


def _outside(modules: Sequence[ModuleFactors]) -> Iterator[OtherTensor]:
    for module in modules:
        moved = changed_matrix(_site(module), module.change, None)
        if moved is not None:
            name = f"{module.path}.weight"
            part, layer = part_of(name)
            num_rows, num_columns = module.shape
            yield OtherTensor(
                name=name,
                part=part,
                layer=layer,
                found="changed",
                num_weights=num_rows * num_columns,
                length=moved.length,
                size=None,
            )


def _cautions(found: FactorsAlone) -> Iterator[str]:
    yield NO_BASE
    dora = [one for one in found.modules if isinstance(one.change, DoraFactors)]
    if dora:
        yield (
            f"{len(dora):,} modules have DoRA, which scales the rows of the base: what "
            f"it changed there is not known without it ({dora[0].path} and others)."
        )
    if found.left_out:
        yield (
            f"{len(found.left_out):,} tensors of the adapter are no factors, and are "
            f"not measured without the base ({found.left_out[0]} and others)."
        )
