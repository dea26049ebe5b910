"""What do originals and their versions become for a model, and which are one text?

The same rule of template and mask holds for all of them. A loss term is each token of
the answer and the end of turn after it, unless the answer was cut off.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.load.encoding import Encoding, encode
from driftmap.load.paired_sets import Dropped, LossOn, PairedSets
from driftmap.results.pair_products import Truth
from driftmap.results.samples import EncodedSample, Sample

TooLong = Literal["error", "drop", "keep"]
INCOMPLETE = "incomplete"
_RULE = 1
"""Raised when other tokens count for the same text."""
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEncoding:
    """How samples of pairs become tokens.

    Args:
        max_length: Longest sample (tokens): the model's context; any by default.
        too_long: What becomes of longer ones: an error that lists them, left out, or
            kept whole.
        loss_on: The answer, or every token but the first.
    """

    max_length: int | None = None
    too_long: TooLong = "error"
    loss_on: LossOn = "answer"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedPairs:
    """Originals and queries as one model's token ids.

    Args:
        pairs: The samples that are left, in the order of the encoded ones.
        originals: One per original.
        queries: One per query.
        truth: Which original is behind each query; originals with equal tokens and
            labels are one class.
        num_same: Originals that share their class with another one (count).
        too_long: Ids of samples longer than the model's context that are kept.
        rule_sha256: Hash of template, tokenizer and mask rule. Results with different
            ones must not be mixed.
    """

    pairs: PairedSets
    originals: tuple[EncodedSample, ...]
    queries: tuple[EncodedSample, ...]
    truth: Truth
    num_same: int
    too_long: tuple[str, ...]
    rule_sha256: str


def encode_pairs(
    pairs: PairedSets, tokenizer: PreTrainedTokenizerBase, settings: PairEncoding
) -> EncodedPairs:
    """Turn originals and queries into tokens.

    Args:
        pairs: The samples.
        tokenizer: The model's, with the template that is asked for.
        settings: Which tokens count, and what becomes of long samples.

    Returns:
        All that is kept.

    Raises:
        DataError: A sample is too long, has no token to count, or nothing is left.
        ModelError: The tokenizer has no offsets, or the template changes an answer.
    """
    cut = {one for one, said in pairs.remarks.items() if INCOMPLETE in said}
    originals = _encoded(pairs.originals, tokenizer, settings, set())
    queries = _encoded(pairs.queries, tokenizer, settings, cut)
    long_originals = _too_long(originals, settings)
    long_queries = _too_long(queries, settings)
    named = (*long_originals, *long_queries)
    if named and settings.too_long == "error":
        raise _error((*originals, *queries), settings)
    if named and settings.too_long == "drop":
        pairs = without(pairs, set(long_originals), set(long_queries))
        originals = _of(pairs.originals, originals)
        queries = _of(pairs.queries, queries)
    same = _classes(originals)
    return EncodedPairs(
        pairs=pairs,
        originals=originals,
        queries=queries,
        truth=Truth(
            original=np.array(pairs.original, np.int64), same=same, sets=pairs.sets
        ),
        num_same=int((np.bincount(same)[same] > 1).sum()),
        too_long=named if settings.too_long == "keep" else (),
        rule_sha256=rule_sha256(tokenizer, settings),
    )


def encode_set(
    samples: Sequence[Sample],
    tokenizer: PreTrainedTokenizerBase,
    settings: PairEncoding,
    incomplete: Collection[str] = (),
) -> tuple[EncodedSample, ...]:
    """Turn samples of one set into tokens, by the rule that holds for pairs.

    Args:
        samples: The samples.
        tokenizer: The model's, with the template that is asked for.
        settings: Which tokens count, and what becomes of long samples.
        incomplete: Ids of answers that were cut off, whose end does not count.

    Returns:
        All that are kept, in order.

    Raises:
        DataError: A sample is too long or has no token to count, or none is left.
        ModelError: The tokenizer has no offsets, or the template changes an answer.
    """
    encoded = _encoded(samples, tokenizer, settings, set(incomplete))
    named = set(_too_long(encoded, settings))
    if named and settings.too_long == "error":
        raise _error(encoded, settings)
    if named and settings.too_long == "drop":
        encoded = tuple(one for one in encoded if one.sample_id not in named)
        say(f"{len(named)} of {len(samples)} samples are left out: they are too long")
    if not encoded:
        raise DataError("no sample is left; give shorter ones")
    return encoded


def without(pairs: PairedSets, originals: set[str], queries: set[str]) -> PairedSets:
    """Leave out samples that are too long, and queries whose original is.

    Args:
        pairs: The samples.
        originals: Ids of originals.
        queries: Ids of queries.

    Raises:
        DataError: No query is left.
    """
    kept = tuple(one for one in pairs.originals if one.id not in originals)
    places = {one.id: number for number, one in enumerate(kept)}
    rows = list(zip(pairs.queries, pairs.sets, strict=True))
    left = [
        (one, name)
        for one, name in rows
        if one.id not in queries and one.original_id in places
    ]
    if not left:
        raise DataError(
            "every query is too long for the model, or its original is; give shorter "
            'samples, or set too_long to "keep"'
        )
    dropped = [
        Dropped(sample_id=one.id, set="original", why="longer than the context")
        for one in pairs.originals
        if one.id in originals
    ] + [
        Dropped(sample_id=one.id, set=name, why=_why(one, queries))
        for one, name in rows
        if one.id in queries or one.original_id in originals
    ]
    say(f"{len(dropped)} samples are left out: they or their originals are too long")
    return replace(
        pairs,
        originals=kept,
        queries=tuple(one for one, _ in left),
        original=tuple(places[one.original_id] for one, _ in left),
        sets=tuple(name for _, name in left),
        dropped=(*pairs.dropped, *dropped),
    )


def rule_sha256(tokenizer: PreTrainedTokenizerBase, settings: PairEncoding) -> str:
    """Hash all that decides which token ids stand for a text and which count.

    Args:
        tokenizer: With the template that is used.
        settings: Which tokens count.

    Returns:
        64 hexadecimal digits.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    said = [
        _RULE,
        settings.loss_on,
        tokenizer.chat_template,
        tokenizer.eos_token,
        tokenizer.bos_token,
        "" if backend is None else backend.to_str(),
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _encoded(
    samples: Sequence[Sample],
    tokenizer: PreTrainedTokenizerBase,
    settings: PairEncoding,
    cut: set[str],
) -> tuple[EncodedSample, ...]:
    positions = "response" if settings.loss_on == "answer" else "all"
    whole, broken = (
        encode(
            [one for one in samples if (one.id in cut) == is_cut],
            tokenizer,
            Encoding(positions=positions, turn_end=not is_cut),
        )
        for is_cut in (False, True)
    )
    found = {one.sample_id: one for one in (*whole, *broken)}
    return tuple(found[one.id] for one in samples)


def _of(
    samples: Sequence[Sample], encoded: Sequence[EncodedSample]
) -> tuple[EncodedSample, ...]:
    found = {one.sample_id: one for one in encoded}
    return tuple(found[one.id] for one in samples)


def _too_long(
    encoded: Sequence[EncodedSample], settings: PairEncoding
) -> tuple[str, ...]:
    longest = settings.max_length
    if longest is None:
        return ()
    return tuple(one.sample_id for one in encoded if len(one.token_ids) > longest)


def _error(encoded: Sequence[EncodedSample], settings: PairEncoding) -> DataError:
    longest = settings.max_length or 0
    named = [one for one in encoded if len(one.token_ids) > longest]
    shown = ", ".join(
        f"{one.sample_id} ({len(one.token_ids)})" for one in named[:_NAMED]
    )
    more = ", ..." if len(named) > _NAMED else ""
    return DataError(
        f"{len(named)} of {len(encoded)} samples are longer than the {longest} tokens "
        f"that the model reads at once: {shown}{more}; leave them out (--too-long "
        "drop) or read them all the same (--too-long keep)"
    )


def _why(sample: Sample, queries: set[str]) -> str:
    if sample.id in queries:
        return "longer than the context"
    return "their original is longer than the context"


def _classes(originals: Sequence[EncodedSample]) -> np.ndarray:
    """Per original the number of the first one with the same tokens and labels."""
    first: dict[tuple[bytes, bytes], int] = {}
    keys = [(one.token_ids.tobytes(), one.counted.tobytes()) for one in originals]
    return np.array(
        [first.setdefault(key, number) for number, key in enumerate(keys)], np.int64
    )
