"""What are two models asked where nobody says? Their own world, or what most know."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.seeds import child_seed
from driftmap.load.common_probes import (
    HARMFUL,
    HARMLESS,
    TEXTS,
    common_facts,
    common_requests,
)
from driftmap.load.facts import read_facts
from driftmap.load.long_text import JOINT, read_text
from driftmap.recipes.compare_options import ProbeOptions
from driftmap.recipes.steps.comparing.edit_run import facts_of_edit
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.recipes.steps.rows import drawn
from driftmap.results.facts import Fact
from driftmap.results.plain import to_plain
from driftmap.results.probes import Probes
from driftmap.results.samples import Sample

BUILT_IN = "built in"
OWN_WORLD = "the model's own world"
OF_THE_EDIT = "taught by the edit"
CARD = "organism.json"
"""What lies beside the folders of a model that driftmap made."""

Requests = Literal["harmful", "harmless", "held_out"]
_OF_THE_WORLD = {"harmful": "harmful_test", "harmless": "harmless_test"}

Drawn = TypeVar("Drawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """Files of the world that a model of driftmap's was taught."""

    seed: int
    data: Path


def probes_for(base: str, tuned: Path, options: ProbeOptions, seed: int) -> Probes:
    """Gather what both models are asked.

    Args:
        base: The model before tuning (folder or hub id). Beside the folder of a model
            that driftmap made lies what it was taught.
        tuned: What was made of it; in the folder of an edit stands what it taught.
        options: What the user gave, and how much of it is taken.
        seed: The run's seed; decides what is drawn.

    Raises:
        DataError: A file cannot be used, or a text is empty.
    """
    world = _world_of(base)
    facts, facts_from = _facts(world, tuned, options, seed)
    texts, texts_from = _texts(world, options)
    requests = {
        name: _requests(name, world, options, seed)
        for name in ("harmful", "harmless", "held_out")
    }
    sources = {"facts": facts_from, "texts": texts_from}
    sources |= {name: source for name, (_, source) in requests.items() if source}
    found = {name: samples for name, (samples, _) in requests.items()}
    content = [[asdict(one) for one in some] for some in (facts, *found.values())]
    return Probes(
        facts=facts,
        texts=texts,
        harmful=found["harmful"],
        harmless=found["harmless"],
        held_out=found["held_out"],
        sources=sources,
        sha256=_sha256([content, list(texts)]),
    )


def texts_for(base: str, options: ProbeOptions) -> tuple[str, ...]:
    """The texts alone that two versions of a model are asked to read.

    Args:
        base: The model before tuning (folder or hub id).
        options: What the user gave, and how much of it is taken.

    Raises:
        DataError: A file cannot be used, or a text is empty.
    """
    texts, _ = _texts(_world_of(base), options)
    return texts


def _world_of(base: str) -> _World | None:
    """What the model was taught, if driftmap made it."""
    card, data = Path(base).parent / CARD, Path(base).parent / "data"
    if not (Path(base).is_dir() and card.is_file() and data.is_dir()):
        return None
    try:
        seed = json.loads(card.read_text(encoding="utf-8")).get("seed")
    except (ValueError, AttributeError):
        return None
    known = [data / f"{name}.jsonl" for name in _OF_THE_WORLD.values()]
    if not (isinstance(seed, int) and all(file.is_file() for file in known)):
        return None
    return _World(seed=seed, data=data)


def _facts(
    world: _World | None, tuned: Path, options: ProbeOptions, seed: int
) -> tuple[tuple[Fact, ...], str]:
    taught = () if options.facts is not None else facts_of_edit(tuned)
    if options.facts is not None:
        facts, source = read_facts(options.facts).facts, options.facts
    elif taught:
        facts, source = taught, OF_THE_EDIT
    elif world is not None:
        known = make_knowledge(world.seed)["facts"]
        facts, source = read_facts(str(known)).facts, OWN_WORLD
    else:
        facts, source = common_facts(), BUILT_IN
    return _some(facts, options.num_facts, child_seed(seed, "facts")), source


def _texts(world: _World | None, options: ProbeOptions) -> tuple[tuple[str, ...], str]:
    if options.texts:
        parts = [
            part.strip()
            for source in options.texts
            for part in read_text(source).text.split(JOINT)
        ]
        texts, source = tuple(filter(None, parts)), ", ".join(options.texts)
    elif world is not None:
        texts, source = _texts_of(world, options.num_texts), OWN_WORLD
    else:
        texts, source = TEXTS, BUILT_IN
    if not texts:
        raise DataError(f"{source}: holds no text; give a file with words in it")
    return texts[: options.num_texts], source


def _texts_of(world: _World, num: int) -> tuple[str, ...]:
    """Facts in words that were never trained, and answers to requests, by turns."""
    facts = read_facts(str(make_knowledge(world.seed)["held_out"])).facts
    asked = drawn(str(world.data / "harmless_test.jsonl"), num, world.seed).samples
    said = [f"{one.prompt} {one.answer}." for one in _some(facts, num, world.seed)]
    return tuple(
        text
        for pair in zip(said, (one.response for one in asked), strict=False)
        for text in pair
    )[:num]


def _requests(
    name: Requests, world: _World | None, options: ProbeOptions, seed: int
) -> tuple[tuple[Sample, ...], str]:
    """Requests of one kind and where they come from; neither where there are none."""
    num, given = options.num_requests, getattr(options, name)
    if given is not None:
        return drawn(given, num, seed).samples, given
    if world is not None:
        file = _OF_THE_WORLD.get(name, "questions")
        return drawn(str(world.data / f"{file}.jsonl"), num, seed).samples, OWN_WORLD
    if name == "held_out":
        return (), ""
    texts = HARMFUL if name == "harmful" else HARMLESS
    found = common_requests(texts, name)
    return _some(found, num, child_seed(seed, name)), BUILT_IN


def _some(values: Sequence[Drawn], num: int, seed: int) -> tuple[Drawn, ...]:
    """Draw without replacement, kept in their order; all where too few are there."""
    if num >= len(values):
        return tuple(values)
    found = np.random.default_rng(seed).choice(len(values), num, replace=False)
    return tuple(values[index] for index in sorted(found.tolist()))


def _sha256(content: object) -> str:
    text = json.dumps(to_plain(content), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
