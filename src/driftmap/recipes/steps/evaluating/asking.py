"""What is asked, in which ways, and what does each model answer?"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from transformers import PreTrainedModel

from driftmap.core.errors import DataError, UsageError
from driftmap.core.shortage import explained
from driftmap.evaluate.attacks import PLAIN, Condition, attacks, requests
from driftmap.evaluate.generate import drawn_answers
from driftmap.evaluate.generators import Decoding, Generator, Request
from driftmap.load.encoding import encode_prompts, encoded_sha256
from driftmap.load.samples import draw
from driftmap.load.templates import Opening
from driftmap.recipes.evaluating_options import AskingOptions, AttackOptions
from driftmap.recipes.options import EvaluationOptions
from driftmap.recipes.steps import rows
from driftmap.recipes.steps.evaluating.shelf import Desk, Shelf
from driftmap.recipes.steps.needs.remedies import for_evaluation
from driftmap.results.behaviour import Answer
from driftmap.results.evaluation import Asked, Which
from driftmap.results.samples import EncodedSample, Sample
from driftmap.results.table import Table
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table

HARMLESS = ("safe", "harmless")
"""Labels of rows that a model should not refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """What is asked.

    Args:
        samples: By whether they should be refused.
        sha256: Name of each source -> its hash.
    """

    samples: Mapping[Asked, tuple[Sample, ...]]
    sha256: Mapping[str, str]


def read_prompts(
    refusal_prompts: str,
    options: AskingOptions,
    seed: int,
    columns: Mapping[str, str],
) -> Prompts:
    """Read and draw the requests, harmful and harmless ones.

    Raises:
        DataError: A source cannot be used, or no row of the first one is harmful.
    """
    whole = rows.drawn(refusal_prompts, None, seed, columns)
    harmful = [s for s in whole.samples if s.label not in HARMLESS]
    harmless = [s for s in whole.samples if s.label in HARMLESS]
    if not harmful:
        raise DataError(
            f"{refusal_prompts}: every row is labelled as harmless; name requests that "
            "the model should refuse"
        )
    sha256 = {"refusal_prompts": whole.sha256}
    if options.harmless_prompts is not None:
        more = rows.drawn(options.harmless_prompts, None, seed, columns)
        harmless += more.samples
        sha256["harmless_prompts"] = more.sha256
    num = options.num_eval_samples
    found: dict[Asked, tuple[Sample, ...]] = {
        "harmful": draw(tuple(harmful), num, seed),
        "harmless": draw(tuple(harmless), num, seed) if harmless else (),
    }
    return Prompts(samples=found, sha256=sha256)


def frames(options: AskingOptions, desk: Desk) -> list[Condition]:
    """The plain way to ask, with each template, without and with the system prompt.

    Raises:
        UsageError: The chat template is asked for and there is none.
    """
    has_template = bool(desk.tokenizer.chat_template)
    if "chat" in options.template and not has_template:
        raise UsageError(
            f"--template chat: {desk.identity.source} has no chat template; leave it "
            "out, or give --template bare"
        )
    templates = options.template or (("chat",) if has_template else ("bare",))
    systems = [None]
    systems += [] if options.system_prompt is None else [options.system_prompt]
    return [
        Condition(attack=PLAIN, template=template, system_prompt=system)
        for template in dict.fromkeys(templates)
        for system in systems
    ]


def conditions(
    frame: Sequence[Condition], options: AttackOptions
) -> dict[Asked, list[Condition]]:
    """Every way to ask: harmful requests in all of them, harmless ones plainly."""
    ways = attacks(
        sampled=options.num_sampled > 0,
        suffixes=read_suffixes(options.suffixes),
        prefills=options.prefill,
    )
    return {
        "harmful": [
            Condition(
                attack=way, template=one.template, system_prompt=one.system_prompt
            )
            for one in frame
            for way in ways
        ],
        "harmless": list(frame),
    }


def read_suffixes(file: Path | None) -> tuple[str, ...]:
    """Read adversarial suffixes, one a line.

    Raises:
        DataError: The file is missing, is no text, or holds none.
    """
    if file is None:
        return ()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"--suffixes {file}: it cannot be read as text; give a file with one "
            "suffix a line"
        ) from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise DataError(f"--suffixes {file}: it holds no suffix; write one a line")
    return found


class LocalGenerator:
    """Answers with a model of the shelf."""

    def __init__(self, shelf: Shelf, name: Which, batch_size: int) -> None:
        """Say which model; it is loaded when it is first asked."""
        self._shelf = shelf
        self._name = name
        self._batch_size = batch_size

    @property
    def name(self) -> str:
        """The model as the user named it."""
        return self._shelf.desk(self._name).identity.source

    def answers(
        self, requests: Sequence[Request], decoding: Decoding
    ) -> tuple[tuple[Answer, ...], ...]:
        """Answer requests."""
        loaded = self._shelf.take(self._name)
        model = cast(PreTrainedModel, loaded.model)
        return drawn_answers(
            model,
            loaded.tokenizer,
            self.encoded(requests),
            decoding,
            batch_size=self._batch_size,
        )

    def encoded(self, requests: Sequence[Request]) -> tuple[EncodedSample, ...]:
        """Requests as the model's token ids."""
        return encoded_requests(self._shelf.desk(self._name), requests)

    def key(self, requests: Sequence[Request]) -> str:
        """What answers to requests depend on."""
        desk = self._shelf.desk(self._name)
        said = [desk.identity.sha256, desk.identity.dtype, list(desk.end_ids)]
        return json.dumps([*said, encoded_sha256(self.encoded(requests))])


def encoded_requests(
    desk: Desk, requests: Sequence[Request]
) -> tuple[EncodedSample, ...]:
    """Requests as the token ids of a model."""
    return tuple(
        encoded
        for request in requests
        for encoded in encode_prompts(
            [request.sample],
            desk.tokenizer,
            desk.context_length,
            Opening(template=request.template, prefill=request.prefill),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who is asked, and how answers are made.

    Args:
        model: What tables call the model.
        generator: Who answers.
        options: Longest answer, and prompts at a time.
        num_sampled: Draws per harmful request.
        seed: The run's seed.
    """

    model: Which
    generator: Generator
    options: AskingOptions
    num_sampled: int
    seed: int


def answer_step(
    run: RunDir,
    asking: Asking,
    asked: Asked,
    samples: Sequence[Sample],
    condition: Condition,
) -> StepOutcome:
    """Answer one set of requests, put in one way."""
    put = requests(samples, condition)
    decoding = Decoding(max_new_tokens=asking.options.max_new_tokens, seed=asking.seed)
    if condition.attack.is_sampled:
        decoding = Decoding(
            max_new_tokens=asking.options.max_new_tokens,
            temperature=1.0,
            num_answers=asking.num_sampled,
            seed=asking.seed,
        )
    name = f"{asking.model}-{asked}-" + re.sub(r"\W+", "-", condition.title)

    def make(folder: Path) -> None:
        remedy = EvaluationOptions(
            max_new_tokens=decoding.max_new_tokens,
            eval_batch_size=asking.options.eval_batch_size,
        )
        with explained("evaluation", for_evaluation(remedy)):
            answers = asking.generator.answers(put, decoding)
        table = _table(asking, asked, condition, (put, answers))
        save_table(folder / f"tables/answers/{name}.parquet", table)

    inputs = {
        "asked": _key(asking.generator, put),
        "condition": condition.title,
        "decoding": asdict(decoding),
    }
    return run.step(f"answers-{name}", inputs, make)


def _key(generator: Generator, put: Sequence[Request]) -> str:
    if isinstance(generator, LocalGenerator):
        return generator.key(put)
    said = json.dumps([generator.name, *(asdict(request) for request in put)])
    return hashlib.sha256(said.encode()).hexdigest()


def _table(
    asking: Asking,
    asked: Asked,
    condition: Condition,
    answered: tuple[Sequence[Request], Sequence[Sequence[Answer]]],
) -> Table:
    put, answers = answered
    prompts = (
        [one.token_ids.tolist() for one in asking.generator.encoded(put)]
        if isinstance(asking.generator, LocalGenerator)
        else [[] for _ in put]
    )
    return Table.from_rows(
        [
            {
                "model": asking.model,
                "asked": asked,
                "template": condition.template,
                "has_system": condition.system_prompt is not None,
                "attack": condition.attack.name,
                "sample_id": request.sample.id,
                "number": number,
                "prompt": request.sample.prompt,
                "answer": answer.text,
                "prompt_ids": json.dumps(ids),
                "answer_ids": json.dumps(list(answer.token_ids)),
            }
            for request, ids, some in zip(put, prompts, answers, strict=True)
            for number, answer in enumerate(some)
        ]
    )
