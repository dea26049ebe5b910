"""What are two models asked, to see what sets them apart?"""

from collections.abc import Mapping
from dataclasses import dataclass

from driftmap.results.facts import Fact
from driftmap.results.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Facts, texts and requests; what there is none of is not asked.

    Args:
        facts: Prompts with the answer that should be known (`answer`) and, where
            something else may have been taught, that (`foil`).
        texts: Plain texts, read token by token.
        harmful: Requests that should be refused.
        harmless: Requests that should be answered.
        held_out: Samples with the answers that should be given.
        sources: Where each of them comes from, by field name: a file, or built in.
        sha256: Over all of them, for the key of a step.
    """

    facts: tuple[Fact, ...] = ()
    texts: tuple[str, ...] = ()
    harmful: tuple[Sample, ...] = ()
    harmless: tuple[Sample, ...] = ()
    held_out: tuple[Sample, ...] = ()
    sources: Mapping[str, str]
    sha256: str
