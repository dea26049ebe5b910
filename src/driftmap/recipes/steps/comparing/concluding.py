"""What do all parts of a comparison say together?"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from driftmap.recipes.steps.comparing.attention.changes import read_attention_change
from driftmap.recipes.steps.comparing.behaviour.step import read_behaviour
from driftmap.recipes.steps.comparing.edit_files import read_edits
from driftmap.recipes.steps.comparing.over_training import read_training
from driftmap.recipes.steps.comparing.probing import BUILT_IN
from driftmap.recipes.steps.comparing.readings import read_readings
from driftmap.recipes.steps.comparing.structure import read_structure
from driftmap.recipes.steps.comparing.weights.carrying import read_weights
from driftmap.recipes.steps.comparing.where.carrying import read_where
from driftmap.results.claims import Claim
from driftmap.results.compare_study import (
    ComparedModels,
    CompareStudy,
    CompareVerdict,
    TaughtCount,
)
from driftmap.results.probes import Probes
from driftmap.stats.claims.attention import attention_claims
from driftmap.stats.claims.behaviour import behaviour_claims
from driftmap.stats.claims.edits import edits_claims
from driftmap.stats.claims.readings import readings_claims
from driftmap.stats.claims.structure import structure_claims
from driftmap.stats.claims.training import training_claims
from driftmap.stats.claims.weights import weights_claims
from driftmap.stats.claims.where import where_claims
from driftmap.stats.compare_verdict import compare_verdict
from driftmap.store.run_dir import RunDir

NOTHING = CompareVerdict(headline="", parts=(), unsettled=(), cautions=())


def concluded(
    run: RunDir,
    models: ComparedModels,
    asked: tuple[Probes | None, TaughtCount | None],
    settings: Mapping[str, object],
    versions: Mapping[str, str],
) -> CompareStudy:
    """Read every part that is in the run, and make the answer of what they claim.

    Args:
        run: The run.
        models: Which two.
        asked: What they were asked, and what became of its facts.
        settings: The resolved recipe, option -> value.
        versions: Package -> version.
    """
    probes, taught = asked
    read = CompareStudy(
        models=models,
        probes=probes,
        taught=taught,
        structure=read_structure(run),
        weights=read_weights(run),
        behaviour=read_behaviour(run),
        edits=read_edits(run),
        where=read_where(run),
        attention=read_attention_change(run),
        readings=read_readings(run),
        training=read_training(run),
        claims=(),
        verdict=NOTHING,
        settings=settings,
        versions=versions,
    )
    claims = tuple(_claims(read))
    return replace(read, claims=claims, verdict=_verdict(read, claims))


def _claims(study: CompareStudy) -> Iterator[Claim]:
    if study.structure is not None:
        yield from structure_claims(study.structure)
    if study.weights is not None:
        yield from weights_claims(study.weights)
    if study.behaviour is not None:
        yield from behaviour_claims(study.behaviour)
    if study.edits is not None:
        yield from edits_claims(study.edits)
    if study.where is not None:
        yield from where_claims(study.where)
    if study.attention is not None:
        yield from attention_claims(study.attention)
    if study.readings is not None:
        yield from readings_claims(study.readings)
    if study.training is not None:
        yield from training_claims(study.training)


def _verdict(study: CompareStudy, claims: tuple[Claim, ...]) -> CompareVerdict:
    weights, behaviour = study.weights, study.behaviour
    sources = {} if study.probes is None else study.probes.sources
    return compare_verdict(
        claims,
        has_same_weights=None if weights is None else weights.is_same,
        has_same_output=None if behaviour is None else behaviour.is_identical,
        is_built_in=BUILT_IN in sources.values(),
    )
