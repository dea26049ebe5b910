"""What does a model see of the facts, and how strong is the noise?

All that may refuse a fact is settled here, before the first is traced.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from driftmap.capture.patching.noise import embedding_level
from driftmap.core.errors import DataError
from driftmap.core.progress import progress, say
from driftmap.core.seeds import child_seed
from driftmap.load.model import LoadedModel
from driftmap.load.spans import encode_fact, require_apart
from driftmap.recipes.steps.tracing.reading import ReadFacts
from driftmap.recipes.steps.tracing.subjects import SUBJECTS
from driftmap.recipes.trace_options import (
    LEVELLED,
    FactOptions,
    NoiseOptions,
    StateOptions,
)
from driftmap.results.facts import EncodedFact, Fact
from driftmap.results.trace_kinds import Noise

OF_A_TEXT = ("embedding_gaussian", "student_t", "mean")
"""Noise that is like the embeddings of a text: here the prompts."""

MOST_OF_TEXT = 4096
"""Tokens of prompts whose embeddings such noise is like (count)."""

WHOLE_LENS = 32
"""First facts that the lens reads at every token, of others at the last (count)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedFact:
    """One fact, ready to be traced.

    Args:
        encoded: Its tokens.
        partners: Tokens of other subjects that `swap` puts in its place.
        has_whole_lens: Every token is read through the lens.
        is_checked: It is traced exactly beside an estimate.
    """

    encoded: EncodedFact
    partners: tuple[tuple[int, ...], ...] = ()
    has_whole_lens: bool = False
    is_checked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """All facts, ready to be traced.

    Args:
        facts: Those that can be.
        left_out: Why others cannot -> how many.
        noise: What is done to subjects.
        noise_source: Where its level comes from, in words.
        text_ids: Tokens whose embeddings some noise is like; empty for other noise.
        sha256: Of the facts as tokens.
    """

    facts: tuple[PreparedFact, ...]
    left_out: Mapping[str, int]
    noise: Noise
    noise_source: str
    text_ids: tuple[int, ...]
    sha256: str


def prepare(
    loaded: LoadedModel,
    read: ReadFacts,
    options: FactOptions,
    noise: NoiseOptions,
    states: StateOptions,
    seed: int,
) -> Prepared:
    """Encode the facts and settle the noise.

    Args:
        loaded: The model.
        read: The facts.
        options: Where subjects are, and what becomes of unclear facts.
        noise: What is done to subjects.
        states: What is put back.
        seed: Draws partners.

    Raises:
        DataError: A fact cannot be traced and may not be left out, or none can.
    """
    left_out: Counter[str] = Counter()
    encoder = _Encoder(loaded, options, states)
    encoded = list(_encoded(encoder, read.facts, left_out))
    if noise.noise == "swap":
        facts = list(_with_partners(encoded, noise.num_draws, seed, left_out))
    else:
        facts = [PreparedFact(encoded=one) for one in encoded]
    if not facts:
        raise DataError(
            f"none of {len(read.facts)} facts can be traced: "
            f"{'; '.join(left_out) or 'there is none'}"
        )
    level, source = _level(loaded, read, encoder, noise)
    return Prepared(
        facts=_numbered(facts, states),
        left_out=dict(left_out),
        noise=_noise(noise, level),
        noise_source=source,
        text_ids=_text_ids(facts) if noise.noise in OF_A_TEXT else (),
        sha256=_sha256(facts),
    )


class _Encoder:
    """Turns facts into tokens as the options say."""

    def __init__(
        self, loaded: LoadedModel, options: FactOptions, states: StateOptions
    ) -> None:
        self._loaded = loaded
        self.options = options
        self._states = states

    def encode(self, fact: Fact) -> EncodedFact:
        options = self.options
        if options.answers == "top1":
            fact = replace(fact, answer=None)
        encoded = encode_fact(
            fact,
            self._loaded.tokenizer,
            occurrence=options.place,
            subject_tokens=options.span,
            ignore_case=options.ignore_case,
            guess=options.guess_subject,
        )
        if self._states.outcome == "logit_difference":
            if not encoded.foil_ids:
                raise DataError(f"{fact.id}: it has no foil to take the difference to")
            require_apart(encoded)
        self._require_room(encoded)
        return encoded

    def subject_ids(self, fact: Fact) -> tuple[int, ...]:
        """Tokens of a subject; none where they cannot be found."""
        try:
            encoded = encode_fact(
                replace(fact, answer=None, foil=None),
                self._loaded.tokenizer,
                occurrence=self.options.place or 1,
                ignore_case=True,
            )
        except DataError:
            return ()
        return tuple(encoded.token_ids[slice(*encoded.subject)].tolist())

    def _require_room(self, encoded: EncodedFact) -> None:
        limit = self._loaded.context_length
        if limit is not None and len(encoded.token_ids) > limit:
            raise DataError(
                f"{encoded.fact.id}: its {len(encoded.token_ids)} tokens are more than "
                f"the {limit} that the model reads at once; shorten the prompt"
            )


def _encoded(
    encoder: _Encoder, facts: Sequence[Fact], left_out: Counter[str]
) -> Iterator[EncodedFact]:
    with progress("find subjects", len(facts)) as bar:
        for fact in facts:
            try:
                yield encoder.encode(fact)
            except DataError as error:
                if encoder.options.unclear == "error":
                    raise
                if not left_out:
                    say(f"left out: {error}")
                left_out["subject or answer not found in the tokens"] += 1
            bar.advance()


def _with_partners(
    encoded: Sequence[EncodedFact], most: int, seed: int, left_out: Counter[str]
) -> Iterator[PreparedFact]:
    """Give each subject others of as many tokens, drawn where there are too many."""
    by_length: dict[int, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for one in encoded:
        ids = tuple(one.token_ids[slice(*one.subject)].tolist())
        by_length[len(ids)].setdefault(one.fact.subject, ids)
    for one in encoded:
        same = by_length[one.subject[1] - one.subject[0]]
        others = [ids for name, ids in same.items() if name != one.fact.subject]
        if not others:
            left_out["no other subject has as many tokens"] += 1
            continue
        random = np.random.default_rng(child_seed(seed, "partners", one.fact.id))
        drawn = sorted(random.permutation(len(others))[:most].tolist())
        yield PreparedFact(encoded=one, partners=tuple(others[k] for k in drawn))


def _level(
    loaded: LoadedModel, read: ReadFacts, encoder: _Encoder, noise: NoiseOptions
) -> tuple[float | None, str]:
    """How strong noise is, and where that comes from."""
    if noise.noise not in LEVELLED:
        return None, {
            "swap": "other subjects of the file of equal token length",
            "zero": "zeros in place of the subject's embeddings",
        }.get(noise.noise, "the embeddings of the prompts' own tokens")
    number, is_relative = noise.level
    if not is_relative:
        return number, "as given by --noise-level"
    facts, whose = read.of_file, f"all {len(read.of_file):,} subjects of the file"
    if encoder.options.prompt is not None:
        facts = tuple(
            Fact(id=name, subject=name, prompt=f"I like {name} a lot")
            for name in SUBJECTS
        )
        whose = f"{len(SUBJECTS)} well-known subjects, since one prompt has no file"
        say(
            f"noise is {number:g} x the standard deviation of the embeddings of {whose}"
        )
    ids = [found for fact in facts if (found := encoder.subject_ids(fact))]
    level = embedding_level(loaded.model, ids, number)
    return level, f"{number:g} x the standard deviation of the embeddings of {whose}"


def _noise(options: NoiseOptions, level: float | None) -> Noise:
    is_single = options.noise in ("zero", "mean")
    return Noise(
        kind=options.noise,
        level=level,
        replaces=options.replace or is_single or options.noise == "swap",
        num_draws=1 if is_single else options.num_draws,
        seed=options.noise_seed,
        df=options.df if options.noise == "student_t" else None,
    )


def _text_ids(facts: Sequence[PreparedFact]) -> tuple[int, ...]:
    ids = [
        token
        for one in facts
        for token in one.encoded.token_ids[: one.encoded.num_prompt].tolist()
    ]
    return tuple(ids[:MOST_OF_TEXT])


def _numbered(
    facts: Sequence[PreparedFact], states: StateOptions
) -> tuple[PreparedFact, ...]:
    """Say which facts are looked at more closely: some spread over the file."""
    checked: set[int] = set()
    if states.fast and states.num_exact:
        spread = np.linspace(0, len(facts) - 1, min(states.num_exact, len(facts)))
        checked = set(spread.round().astype(int).tolist())
    return tuple(
        replace(one, has_whole_lens=number < WHOLE_LENS, is_checked=number in checked)
        for number, one in enumerate(facts)
    )


def _sha256(facts: Sequence[PreparedFact]) -> str:
    """Hash what is traced, in words and in tokens."""
    digest = hashlib.sha256()
    for one in facts:
        encoded = one.encoded
        told = [
            encoded.fact.id, encoded.fact.subject, encoded.fact.prompt,
            encoded.fact.answer, encoded.fact.foil, encoded.subject,
            encoded.num_prompt, encoded.answer_ids, encoded.foil_ids, one.partners,
            encoded.token_ids.tolist(),
        ]  # fmt: skip
        digest.update(json.dumps(told).encode() + b"\n")
    return digest.hexdigest()
