"""What does a model read of the items: unsafe and safe, to learn and to judge by?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedModel

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.evaluate.generate import greedy_answers
from driftmap.evaluate.refusal import is_refusal
from driftmap.load.encoding import Encoding, encode, encode_prompts
from driftmap.load.fitted import Fitted, fit
from driftmap.load.model import LoadedModel
from driftmap.recipes.expert_options import IdentifyOptions, ItemOptions
from driftmap.recipes.steps.experts.reading import CONSTANT, ExpertData
from driftmap.results.samples import EncodedSample, Message, Sample
from driftmap.results.unsafe_items import UnsafeItem, with_response

LONGEST_REFUSAL = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sides:
    """Every set of texts, as one model's tokens.

    Args:
        train: Items that are left, in the order of `unsafe`.
        held_out: Items to judge by.
        unsafe: Unsafe prompts with refusals; what is learned.
        safe: Plain requests with the same refusals, pair by pair; empty where an item
            has no goal.
        unsafe_text: What routing reads of the unsafe side.
        safe_text: What routing reads of the safe side.
        contrast: What is taken off gradient scores; empty for none.
        benign: Ordinary requests with their answers.
        asked: Held-out unsafe prompts with refusals.
        gave_in: Held-out unsafe prompts with the unsafe answer, where it is known.
        plain: Plain held-out requests with refusals; empty without goals.
        texts: What routing reads: `own` or `same`; empty where it is not read.
        dropped: Items left out because they are too long.
        cut: Items whose prompts were cut.
    """

    train: tuple[UnsafeItem, ...]
    held_out: tuple[UnsafeItem, ...]
    unsafe: tuple[EncodedSample, ...]
    safe: tuple[EncodedSample, ...]
    unsafe_text: tuple[EncodedSample, ...]
    safe_text: tuple[EncodedSample, ...]
    contrast: tuple[EncodedSample, ...]
    benign: tuple[EncodedSample, ...]
    asked: tuple[EncodedSample, ...]
    gave_in: tuple[EncodedSample, ...]
    plain: tuple[EncodedSample, ...]
    texts: str
    dropped: tuple[str, ...]
    cut: tuple[str, ...]


def encode_sides(
    loaded: LoadedModel,
    data: ExpertData,
    options: ItemOptions,
    identify: IdentifyOptions,
) -> Sides:
    """Turn everything into tokens, and leave out together what does not fit.

    Args:
        loaded: The model.
        data: What was read.
        options: Which tokens count, and what becomes of long items.
        identify: What is compared.

    Raises:
        DataError: An item does not fit, or none is left.
    """
    if options.safe_response == "own":
        data = _with_own_refusals(loaded, data, options)
    pen = _Pen(loaded=loaded, options=options)
    unsafe = pen.written(data.train, _unsafe)
    dropped = set(unsafe.dropped)
    train = tuple(item for item in data.train if item.id not in dropped)
    asked = pen.written(data.held_out, _unsafe)
    held_out = tuple(i for i in data.held_out if i.id not in set(asked.dropped))
    has_goals = all(item.goal for item in train)
    safe = pen.written(train, _safe).samples if has_goals else ()
    texts, unsafe_text = _routed_text(pen, train, unsafe, identify)
    known = tuple(item for item in held_out if item.output)
    return Sides(
        train=train,
        held_out=held_out,
        unsafe=unsafe.samples,
        safe=safe,
        unsafe_text=unsafe_text,
        safe_text=safe,
        contrast=_contrast(pen, data, identify),
        benign=pen.given(data.benign),
        asked=asked.samples,
        gave_in=pen.written(known, _gave_in).samples,
        plain=pen.written([i for i in held_out if i.goal], _safe).samples,
        texts=texts,
        dropped=(*unsafe.dropped, *asked.dropped),
        cut=(*unsafe.cut, *asked.cut),
    )


def prompt_of(sample: EncodedSample) -> EncodedSample:
    """The same up to where the answer begins."""
    ids = sample.token_ids[: sample.prompt_length]
    return EncodedSample(
        sample_id=sample.sample_id,
        token_ids=ids,
        counted=np.zeros(len(ids), bool),
        prompt_length=len(ids),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pen:
    """Writes items down as tokens, all by the same rules."""

    loaded: LoadedModel
    options: ItemOptions

    def written(
        self, items: Sequence[UnsafeItem], form: Callable[[UnsafeItem], Sample]
    ) -> Fitted:
        if not items:
            return Fitted(samples=(), dropped=(), cut=())
        positions = "response" if self.options.loss_on == "response" else "all"
        encoded = encode(
            [form(item) for item in items],
            self.loaded.tokenizer,
            Encoding(positions=positions, turn_end=True),
        )
        return self._fitted(encoded)

    def given(self, samples: Sequence[Sample]) -> tuple[EncodedSample, ...]:
        """Ordinary samples, whose answers are all that counts."""
        if not samples:
            return ()
        how = Encoding(positions="response", turn_end=True)
        return self._fitted(encode(samples, self.loaded.tokenizer, how)).samples

    def _fitted(self, encoded: Sequence[EncodedSample]) -> Fitted:
        longest = self.options.max_length
        context = self.loaded.context_length
        longest = longest if context is None else min(longest, context)
        begin = self.loaded.tokenizer.bos_token_id
        assert begin is None or isinstance(begin, int)
        return fit(encoded, longest, self.options.too_long, begin)


def _unsafe(item: UnsafeItem) -> Sample:
    return item.answered(item.response)


def _safe(item: UnsafeItem) -> Sample:
    return item.safely_asked(item.response)


def _gave_in(item: UnsafeItem) -> Sample:
    return item.answered(item.output)


def _routed_text(
    pen: _Pen,
    train: tuple[UnsafeItem, ...],
    unsafe: Fitted,
    identify: IdentifyOptions,
) -> tuple[str, tuple[EncodedSample, ...]]:
    if "routing" not in identify.methods:
        return "", ()
    lacking = [item.id for item in train if not item.output]
    texts = identify.texts or ("same" if lacking else "own")
    if texts == "same":
        return texts, unsafe.samples
    if lacking:
        raise DataError(
            f"{lacking[0]} has no `output`, the unsafe answer that --texts own reads; "
            f"{len(lacking)} of {len(train)} items lack it: take --texts same"
        )
    found = pen.written(train, _gave_in)
    if found.dropped:
        raise DataError(
            f"{found.dropped[0]} with its unsafe answer is longer than --max-length; "
            "allow more, or take --texts same"
        )
    return texts, found.samples


def _contrast(
    pen: _Pen, data: ExpertData, identify: IdentifyOptions
) -> tuple[EncodedSample, ...]:
    if identify.contrast == "none":
        return ()
    if identify.contrast == "benign":
        return pen.given(data.benign)
    refusal = data.train[0].response
    return pen.given([_refusing(sample, refusal) for sample in data.benign])


def _refusing(sample: Sample, refusal: str) -> Sample:
    """The same request with the refusal in place of its answer."""
    if sample.tokens is not None or not sample.response:
        raise DataError(
            f"{sample.id}: it is no request with an answer, as --contrast refusal_text "
            "needs; give such samples to --benign"
        )
    said = Message(role="assistant", content=refusal)
    return replace(sample, messages=(*sample.messages[:-1], said))


def _with_own_refusals(
    loaded: LoadedModel, data: ExpertData, options: ItemOptions
) -> ExpertData:
    """Let the model answer the plain requests, and keep items that it refuses."""
    model = loaded.model
    assert isinstance(model, PreTrainedModel)
    asked = [item.safely_asked(CONSTANT) for item in data.train]
    answers = greedy_answers(
        model,
        loaded.tokenizer,
        encode_prompts(asked, loaded.tokenizer, options.max_length),
        max_new_tokens=LONGEST_REFUSAL,
    )
    kept = tuple(
        with_response(item, answer.text)
        for item, answer in zip(data.train, answers, strict=True)
        if is_refusal(answer.text)
    )
    if not kept:
        raise DataError(
            f"the model refuses none of the {len(data.train)} plain requests, so it "
            "has no refusal of its own; take another --safe-response"
        )
    if len(kept) < len(data.train):
        say(
            f"{len(data.train) - len(kept)} items are left out: the model does not "
            "refuse their plain request"
        )
    known = {item.goal: item.response for item in kept}
    own = kept[0].response
    held_out = tuple(with_response(i, known.get(i.goal, own)) for i in data.held_out)
    return replace(data, train=kept, held_out=held_out)
