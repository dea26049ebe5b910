"""As which tokens are samples indexed or looked for?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from driftmap.load.encoding import encoded_sha256
from driftmap.load.model import LoadedModel
from driftmap.load.own_ids import Version
from driftmap.load.paired_encoding import (
    INCOMPLETE,
    PairEncoding,
    encode_set,
    rule_sha256,
)
from driftmap.load.templates import with_template
from driftmap.recipes.index_options import TokenOptions
from driftmap.results.index import IndexedSample
from driftmap.results.samples import EncodedSample, Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fed:
    """Samples as a model is fed them.

    Args:
        samples: What they are, one per encoded one.
        encoded: Their tokens.
        sha256: Hash of the tokens.
        rule_sha256: Hash of template, tokenizer and mask rule.
    """

    samples: tuple[Sample, ...]
    encoded: tuple[EncodedSample, ...]
    sha256: str
    rule_sha256: str

    def indexed(self) -> tuple[IndexedSample, ...]:
        """What an index keeps of the samples."""
        return tuple(
            IndexedSample(
                id=sample.id,
                original_id=sample.original_id,
                version=sample.version,
                token_ids=tuple(one.token_ids.tolist()),
                counted=tuple(_runs(one.counted)),
                prompt_length=one.prompt_length,
            )
            for sample, one in zip(self.samples, self.encoded, strict=True)
        )


def encode(loaded: LoadedModel, found: Version, tokens: TokenOptions) -> Fed:
    """Turn samples into tokens.

    Args:
        loaded: Whose tokenizer reads them, and whose context they must fit.
        found: The samples.
        tokens: How.

    Raises:
        DataError: A sample is too long or has no token to count.
        ModelError: The tokenizer cannot do what is asked for.
    """
    tokenizer = with_template(loaded.tokenizer, tokens.template)
    settings = PairEncoding(
        max_length=loaded.context_length,
        too_long=tokens.too_long,
        loss_on=tokens.loss_on,
    )
    cut = [name for name, said in found.remarks.items() if INCOMPLETE in said]
    encoded = encode_set(found.samples, tokenizer, settings, cut)
    samples = {sample.id: sample for sample in found.samples}
    return Fed(
        samples=tuple(samples[one.sample_id] for one in encoded),
        encoded=encoded,
        sha256=encoded_sha256(encoded),
        rule_sha256=rule_sha256(tokenizer, settings),
    )


def as_encoded(sample: IndexedSample) -> EncodedSample:
    """Turn what an index keeps into what a model is fed.

    >>> kept = IndexedSample(id="a", original_id="a", version="original",
    ...                      token_ids=(5, 6, 7), counted=((1, 3),), prompt_length=1)
    >>> as_encoded(kept).counted.tolist()
    [False, True, True]
    """
    counted = np.zeros(len(sample.token_ids), bool)
    for start, stop in sample.counted:
        counted[start:stop] = True
    return EncodedSample(
        sample_id=sample.id,
        token_ids=np.array(sample.token_ids, np.int32),
        counted=counted,
        prompt_length=sample.prompt_length,
    )


def _runs(counted: Sequence[bool] | np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs of tokens that count.

    >>> list(_runs(np.array([False, True, True, False, True])))
    [(1, 3), (4, 5)]
    """
    padded = np.concatenate([[False], np.asarray(counted, bool), [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
