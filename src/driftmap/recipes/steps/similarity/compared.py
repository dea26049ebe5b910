"""What is compared with what, and what does a comparison depend on?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from driftmap.load.encoding import encoded_sha256
from driftmap.load.paired_encoding import EncodedPairs
from driftmap.recipes.steps.bench import Study, batches_of
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """Samples, and which originals each query is compared with.

    Args:
        study: Folder, model and seed.
        encoded: Originals and queries as token ids.
        candidates: Numbers of originals per query; `NONE` fills up.
        batch_tokens: Tokens of one pass, padding included.
    """

    study: Study
    encoded: EncodedPairs
    candidates: Int64[np.ndarray, "query candidate"]
    batch_tokens: int

    def inputs(self) -> Mapping[str, object]:
        """All that products of these samples depend on, beside the measure."""
        identity = self.study.loaded.identity
        digest = hashlib.sha256(self.candidates.tobytes()).hexdigest()
        return {
            "model": identity.sha256,
            "dtype": identity.dtype,
            "samples": encoded_sha256(self.encoded.originals, self.encoded.queries),
            "rule": self.encoded.rule_sha256,
            "candidates": digest,
            "sets": list(self.encoded.truth.sets),
            "truth": self.encoded.truth.original.tolist(),
        }

    @property
    def query_ids(self) -> tuple[str, ...]:
        """One per query."""
        return tuple(one.sample_id for one in self.encoded.queries)

    @property
    def original_ids(self) -> tuple[str, ...]:
        """One per original."""
        return tuple(one.sample_id for one in self.encoded.originals)

    def batches(self, samples: Sequence[EncodedSample]) -> tuple[Batch, ...]:
        """Pad samples into batches of so many tokens."""
        longest = max(len(one.token_ids) for one in samples)
        size = max(1, self.batch_tokens // longest)
        return batches_of(self.study.loaded, samples, size)
