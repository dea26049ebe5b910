"""In which order is a study of similar samples done, from samples to report?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftmap.families.tensors import find_tensors
from driftmap.load.model import LoadedModel
from driftmap.load.paired_encoding import PairEncoding, encode_pairs
from driftmap.load.paired_sets import PairedSets
from driftmap.load.source import ModelSource
from driftmap.load.templates import with_template
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.similarity_options import (
    FREE,
    REDOES,
    AnalysisOptions,
    CandidateOptions,
    ProductOptions,
    SampleOptions,
)
from driftmap.recipes.steps import bench
from driftmap.recipes.steps.similarity.activations import activation_step
from driftmap.recipes.steps.similarity.analysing import Known, Measured
from driftmap.recipes.steps.similarity.baselines import embeddings
from driftmap.recipes.steps.similarity.choosing import choose_candidates
from driftmap.recipes.steps.similarity.compared import Compared
from driftmap.recipes.steps.similarity.concluding import conclude
from driftmap.recipes.steps.similarity.describing import flags_of, samples_step
from driftmap.recipes.steps.similarity.measuring import gradient_step, share_part
from driftmap.recipes.steps.similarity.sharing import Sharing

KIND = "similarity"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityPlan:
    """What is compared, with what, and what is made of it.

    Args:
        products: What samples are compared by.
        candidates: Which originals each query is compared with.
        analysis: What is made of the products.
        samples: What of the samples counts.
        engine: Where gradients are compared.
        source: The model, as other processes load it.
    """

    products: ProductOptions
    candidates: CandidateOptions
    analysis: AnalysisOptions
    samples: SampleOptions
    engine: EngineOptions
    source: ModelSource


def carry_out(
    loaded: LoadedModel,
    pairs: PairedSets,
    plan: SimilarityPlan,
    settings: Mapping[str, object],
) -> Path:
    """Do all steps that are not done yet.

    Args:
        loaded: The model.
        pairs: The samples, joined.
        plan: What is to be done.
        settings: The resolved recipe.

    Returns:
        The report; with `--partition` the run folder.
    """
    how = PairEncoding(
        max_length=loaded.context_length,
        too_long=plan.samples.too_long,
        loss_on=plan.samples.loss_on,
    )
    tokenizer = with_template(loaded.tokenizer, plan.samples.template)
    encoded = encode_pairs(pairs, tokenizer, how)
    num_tensors = sum(len(rule.places) for rule in find_tensors(loaded.model))
    chosen = choose_candidates(encoded, plan.candidates, num_tensors)
    out = Path(str(settings["out"]))
    with bench.opened(loaded, out, settings, KIND, FREE, REDOES) as study:
        study.run.note_inputs(dict(pairs.sha256))
        samples_step(study, encoded)
        compared = Compared(
            study=study,
            encoded=encoded,
            candidates=chosen.candidates,
            batch_tokens=plan.products.batch_tokens,
        )
        known = Known(
            baselines=(
                chosen.lexical,
                *embeddings(study.run, encoded, chosen.candidates, plan.candidates),
            ),
            flags=flags_of(encoded),
            forced=chosen.forced,
        )
        sharing = Sharing(source=plan.source, options=plan.engine, run=out)
        if sharing.is_part:
            share_part(compared, plan.products, sharing)
            return out
        measured: dict[str, Measured] = {}
        if plan.products.has_gradients:
            measured |= gradient_step(compared, plan.products, sharing)
        if plan.products.has_activations:
            measured |= activation_step(compared, plan.products)
        return conclude(study.run, measured, known, plan.analysis, study.seed)
