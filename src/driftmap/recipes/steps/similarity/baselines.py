"""What do text embeddings make of the pairs, which know nothing of the model?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.load.embeddings import embedded_by_server, embedded_here
from driftmap.load.endpoint import Endpoint, endpoint_url
from driftmap.load.paired_encoding import EncodedPairs
from driftmap.recipes.similarity_options import CandidateOptions
from driftmap.results.baselines import Baseline
from driftmap.store.run_dir import RunDir

STEP = "embeddings"
FILE = "products/embeddings.npy"


def embeddings(
    run: RunDir,
    encoded: EncodedPairs,
    candidates: Int64[np.ndarray, "query candidate"],
    options: CandidateOptions,
) -> Iterator[Baseline]:
    """Compare what users say by text embeddings, where a model of these is named.

    Args:
        run: Keeps the cosines.
        encoded: The samples.
        candidates: Numbers of originals per query.
        options: Which model embeds, and where.
    """
    model = options.embeddings
    if model is None:
        return
    pairs = encoded.pairs

    def make(folder: Path) -> None:
        asked = _embedded(model, options, pairs.query_prompts)
        found = _embedded(model, options, pairs.original_prompts)
        file = folder / FILE
        file.parent.mkdir()
        np.save(file, asked @ found.T)

    inputs = {
        "model": model,
        "queries": list(pairs.query_prompts),
        "originals": list(pairs.original_prompts),
    }
    cosines = np.load(run.step(STEP, inputs, make).path(FILE))
    scores = np.take_along_axis(cosines, candidates, axis=1)
    yield Baseline(name="text embeddings", scores=scores)


def _embedded(
    model: str, options: CandidateOptions, texts: Sequence[str]
) -> Float64[np.ndarray, "text dimension"]:
    if options.embeddings_endpoint is None:
        return embedded_here(model, texts)
    return embedded_by_server(
        Endpoint(url=endpoint_url(options.embeddings_endpoint), model=model), texts
    )
