"""Where does a model send each kind of text, and is that more than chance?"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.capture.routing import show_routing
from driftmap.core.errors import DataError
from driftmap.families.experts import find_experts
from driftmap.load.batches import make_batches
from driftmap.load.encoding import Encoding, encode
from driftmap.load.model import LoadedModel
from driftmap.measure.experts.routing import RoutingFold
from driftmap.results.expert_views import DomainRouting, Specialised
from driftmap.results.samples import Sample
from driftmap.stats.experts.domains import routing_by_domain, specialised


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedDomains:
    """Kinds of text and the experts that serve them.

    Args:
        domains: One per kind, in the order in which the kinds first come.
        specialised: How far kinds are apart at each bank, beside shuffled kinds.
    """

    domains: tuple[DomainRouting, ...]
    specialised: Specialised


def route_domains(
    loaded: LoadedModel, samples: Sequence[Sample], *, seed: int = 0
) -> RoutedDomains:
    """Count where every token of labelled samples is sent, padding left out.

    Args:
        loaded: A mixture of experts.
        samples: Prompts with responses; the label of each is its kind.
        seed: What shuffled kinds are drawn from.

    Raises:
        DataError: A sample has no label, or all have the same.
        FamilyError: The model has no experts, or they cannot be handled.
    """
    unlabelled = [sample.id for sample in samples if sample.label is None]
    if unlabelled:
        raise DataError(
            f"{unlabelled[0]} has no label, which says what kind of text it is; "
            f"{len(unlabelled)} of {len(samples)} samples lack one"
        )
    kinds = [str(sample.label) for sample in samples]
    banks = find_experts(loaded.model)
    fold = RoutingFold([bank.place for bank in banks])
    batches = make_batches(
        encode(samples, loaded.tokenizer, Encoding(turn_end=True)),
        batch_size=32,
        pad_id=0,
        device=loaded.device,
        positions="all",
    )
    show_routing(loaded.model, banks, batches, fold.take)
    counts = fold.result()
    return RoutedDomains(
        domains=routing_by_domain(counts, kinds),
        specialised=specialised(counts, kinds, seed=seed),
    )
