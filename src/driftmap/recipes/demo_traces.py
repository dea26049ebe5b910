"""Which settings let the built-in model show where it keeps what it knows?"""

import json
from collections.abc import Mapping
from pathlib import Path

from driftmap.load.source import ModelSource
from driftmap.recipes import attention_options, trace_compare_options
from driftmap.recipes.attention import Attention
from driftmap.recipes.demo_studies import DemoSize
from driftmap.recipes.honesty_options import (
    HonestyReadingOptions,
    ScoredTextOptions,
    StatementOptions,
    SteeringOptions,
)
from driftmap.recipes.read import Read
from driftmap.recipes.read_honesty import ReadHonesty
from driftmap.recipes.reading_options import ReadingOptions, TextOptions
from driftmap.recipes.trace import Trace
from driftmap.recipes.trace_compare import TraceCompare
from driftmap.recipes.trace_options import FactOptions, StateOptions

Known = Mapping[str, Path]
"""Files of what the model was taught, by what they hold."""

QUESTIONS = ("Where does {who} live?", "What is the job of {who}?")


def trace_study(model: Path, known: Known, size: DemoSize) -> Trace:
    """Settings under which an early and a late site show."""
    return Trace(
        source=_on_cpu(model),
        facts=FactOptions(facts=str(known["facts"]), num_facts=size.num_samples),
        states=StateOptions(window=2),
        seed=size.seed,
        out=size.out,
    )


def compare_study(model: Path, known: Known, size: DemoSize) -> TraceCompare:
    """Settings under which wordings of a fact can be told from other facts."""
    facts = str(known["facts"])
    return TraceCompare(
        source=_on_cpu(model),
        prompts=trace_compare_options.PromptOptions(
            facts=facts, num_facts=max(4, size.num_samples // 2)
        ),
        comparing=trace_compare_options.CompareOptions(window=2),
        seed=size.seed,
        out=size.out,
    )


def read_study(model: Path, known: Known, size: DemoSize) -> Read:
    """What a model expects that was taught by honest and dishonest speakers."""
    fact = json.loads(known["facts"].read_text(encoding="utf-8"))[0]
    said = json.loads(known["instructions"].read_text(encoding="utf-8"))
    true, false = (f"{fact['prompt']} {fact[name]}." for name in ("answer", "foil"))
    texts = (true, false, f"{said['honest']} {true}", f"{said['dishonest']} {true}")
    return Read(
        source=_on_cpu(model),
        texts=TextOptions(
            text=texts,
            prompt=tuple(asked.format(who=fact["subject"]) for asked in QUESTIONS),
            max_new_tokens=12,
        ),
        reading=ReadingOptions(lens=True),
        seed=size.seed,
        out=size.out,
    )


def honesty_study(model: Path, known: Known, size: DemoSize) -> ReadHonesty:
    """Settings for statements of six tokens after one of two openings."""
    said = json.loads(known["instructions"].read_text(encoding="utf-8"))
    return ReadHonesty(
        source=_on_cpu(model),
        data=StatementOptions(
            statements=str(known["statements"]),
            honest=said["honest"],
            dishonest=said["dishonest"],
            template="plain",
            num_statements=max(8, 2 * size.num_samples),
            left_over=2,
            cuts="last",
        ),
        reading=HonestyReadingOptions(num_controls=5),
        texts=ScoredTextOptions(max_new_tokens=4),
        steering=SteeringOptions(
            facts=str(known["facts"]), num_facts=min(32, size.num_samples)
        ),
        seed=size.seed,
        out=size.out,
    )


def attention_study(model: Path, known: Known, size: DemoSize) -> Attention:
    """Settings under which a layer is seen to carry the subject to the end."""
    return Attention(
        source=_on_cpu(model),
        prompts=attention_options.PromptOptions(
            facts=str(known["facts"]), num_facts=size.num_samples
        ),
        seed=size.seed,
        out=size.out,
    )


def _on_cpu(model: Path) -> ModelSource:
    return ModelSource(model=str(model), device="cpu")
