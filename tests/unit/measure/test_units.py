"""Are units the weights that they should be, and their effects what autograd says?"""

from functools import partial

import numpy as np
import pytest
import torch

from driftmap.capture.stream import run_folds
from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight, site_weight
from driftmap.measure.first_order import FirstOrder
from driftmap.measure.snip import Snip
from driftmap.measure.units import UnitTally, unit_scores, weights_of
from driftmap.signals.fold import LinearCall, SiteSignal
from driftmap.signals.units import unit_sets
from tiny import tiny_llama
from tiny_batches import (
    batched,
    checkpointed,
    one_by_one_gradients,
    tiny_samples,
)
from tiny_families import tiny_family

SAMPLES = tiny_samples(7, 4, 9, 7, 5)
GRAINS = ["row", "column", "head", "kv_head", "neuron", "module", "layer"]
FAMILIES = ["llama", "gpt2", "phi3", "falcon_grouped"]


def products(model, samples=SAMPLES):
    """`W * G_n` of every site and sample, one backward a sample, in float64."""
    layout = find_layout(model)
    modules = list({site.path: site for site in layout.sites}.values())
    found = {site: [] for site in layout.sites}
    for gradients in one_by_one_gradients(model, modules, samples):
        by_path = {site.path: gradient for site, gradient in gradients.items()}
        for site in layout.sites:
            G = by_path[site.path].T if site.transposed else by_path[site.path]
            if site.split is not None:
                G = G[site.split.rows()]
            found[site].append(site_weight(model, site).double() * G.double())
    return {site: torch.stack(of_site) for site, of_site in found.items()}


def lines(site, axis=None, span=None):
    """The mask of some rows or columns of a matrix, or of all of it."""
    mask = torch.zeros(site.shape, dtype=torch.bool)
    if axis is None:
        mask[:] = True
    else:
        mask.movedim("rc".index(axis), 0)[span] = True
    return {site: mask}


def naive_units(sites, grain):
    """Every unit as masks by site, written out; also the part that zeroing reads."""
    if grain in ("row", "column", "module"):
        yield from units_of_matrices(sites, grain)
        return
    block = {}
    for site in sites:
        block.setdefault(site.layer, {})[site.part] = site
    for parts in block.values():
        yield from units_of_a_block(parts, grain)


def units_of_matrices(sites, grain):
    for site in sites:
        if grain == "module":
            yield lines(site), lines(site)
            continue
        for number in range(site.shape[grain == "column"]):
            of = lines(site, grain[0], slice(number, number + 1))
            yield of, of


def units_of_a_block(parts, grain):
    if grain == "layer":
        of = {site: lines(site)[site] for site in parts.values()}
        yield of, of
        return
    held, read = {
        "head": ({"q": "r", "o": "c"}, {"o": "c"}),
        "kv_head": ({"k": "r", "v": "r"}, {"k": "r", "v": "r"}),
        "neuron": ({"gate": "r", "up": "r", "down": "c"}, {"down": "c"}),
    }[grain]
    size = 1 if grain == "neuron" else parts["q"].head_size
    length = parts[{"head": "q", "kv_head": "k", "neuron": "up"}[grain]].num_rows
    for start in range(0, length, size):
        span = slice(start, start + size)
        yield tuple(
            {
                site: mask
                for part, axis in wanted.items()
                if part in parts
                for site, mask in lines(parts[part], axis, span).items()
            }
            for wanted in (held, read)
        )


def first_order(model, grain, batches, sites=None):
    all_sites = find_layout(model).sites
    fold = FirstOrder(all_sites, grain, len(SAMPLES))
    terms = run_folds(model, sites or fold.sites, batches, [fold])[0]
    return np.concatenate([one.effect for one in fold.effects(terms)])


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", FAMILIES)
def test_effects_and_masses_equal_the_written_out_sums(name, grain):
    model = tiny_family(name)
    sites = find_layout(model).sites
    of = products(model)
    units = list(naive_units(sites, grain))
    effects = [
        sum(of[s][:, mask].sum(dim=1) for s, mask in read.items()).abs().mean()
        for _, read in units
    ]
    masses = [
        sum(of[s].abs().mean(dim=0)[mask].sum() for s, mask in held.items())
        for held, _ in units
    ]
    sizes = [sum(int(mask.sum()) for mask in held.values()) for held, _ in units]
    found = first_order(model, grain, batched(SAMPLES, 2))
    assert found == pytest.approx(torch.stack(effects).numpy(), rel=1e-3, abs=1e-6)
    snip = Snip(partial(effective_weight, model))
    scores = run_folds(model, sites, batched(SAMPLES, 2), [snip])[0]
    scored = unit_scores(scores, grain)
    mass = np.concatenate([one.mass for one in scored])
    assert mass == pytest.approx(torch.stack(masses).numpy(), rel=1e-4)
    density = np.concatenate([one.density for one in scored])
    assert density == pytest.approx(mass / sizes)
    assert (found <= mass * (1 + 1e-5)).all()


def test_rows_sum_to_the_module_and_modules_to_the_layer():
    model = tiny_llama()
    sites = find_layout(model).sites
    draw = torch.Generator().manual_seed(0)
    scores = {site: torch.rand(site.shape, generator=draw) for site in sites}
    by = {grain: unit_scores(scores, grain) for grain in GRAINS}
    for rows, columns, module in zip(
        by["row"], by["column"], by["module"], strict=True
    ):
        assert rows.mass.sum() == pytest.approx(module.mass[0], rel=1e-12)
        assert columns.mass.sum() == pytest.approx(module.mass[0], rel=1e-12)
    modules = sum(one.mass[0] for one in by["module"])
    assert sum(one.mass[0] for one in by["layer"]) == pytest.approx(modules)
    parts = ("head", "kv_head", "neuron")
    assert sum(u.mass.sum() for g in parts for u in by[g]) == pytest.approx(modules)


def test_a_single_weight_has_the_effect_of_its_mass():
    site = Site(path="m", layer=0, part="q", num_rows=3, num_columns=1)
    draw = torch.Generator().manual_seed(1)
    X, D = (torch.randn(4, 5, n, generator=draw) for n in (1, 3))
    W = torch.randn(3, 1, generator=draw)
    signal = SiteSignal(
        site=site, sample_ids=("a", "b", "c", "d"), sample_index=(0, 1, 2, 3),
        observed=torch.ones(4, 5, dtype=torch.bool),
        calls=(LinearCall(inputs=X, output_gradients=D, outputs=X @ W.T),),
    )  # fmt: skip
    fold, snip = FirstOrder([site], "row", 4), Snip(lambda _: W)
    terms = fold.result({site: fold.update(fold.start(site), signal)})
    scores = snip.result({site: snip.update(snip.start(site), signal)})
    (effects,) = fold.effects(terms)
    (masses,) = unit_scores(scores, "row")
    assert effects.effect == pytest.approx(masses.mass, rel=1e-5)


@pytest.mark.parametrize("grain", ["row", "head", "kv_head", "layer"])
def test_batches_order_padding_and_passes_change_nothing(grain):
    model = tiny_llama()
    wanted = first_order(model, grain, batched(SAMPLES, 1))
    sites = find_layout(model).sites
    for batches in (
        batched(SAMPLES),
        batched(SAMPLES, 2, side="left", extra=3),
        batched(SAMPLES[::-1], 2),
    ):
        found = first_order(model, grain, batches, sites)
        assert np.abs(found - wanted).max() <= 1e-6 * wanted.max()
    fold = FirstOrder(sites, grain, len(SAMPLES))
    parts = [fold.sites[:3], fold.sites[3:]]
    terms = {}
    for part in filter(None, parts):
        terms |= run_folds(model, part, batched(SAMPLES, 2), [fold])[0]
    joined = np.concatenate([one.effect for one in fold.effects(terms)])
    assert np.abs(joined - wanted).max() <= 1e-6 * wanted.max()
    checkpointed(model, use_reentrant=False)
    found = first_order(model, grain, batched(SAMPLES, 2))
    assert np.abs(found - wanted).max() <= 1e-6 * wanted.max()


def test_module_used_twice_adds_its_terms_before_the_absolute_value():
    model = tiny_llama(layers=3)
    model.model.layers[2].mlp = model.model.layers[0].mlp
    site = next(s for s in find_layout(model).sites if s.part == "down")
    fold = FirstOrder([site], "row", len(SAMPLES))
    terms = run_folds(model, [site], batched(SAMPLES, 2), [fold])[0]
    (found,) = fold.effects(terms)
    wanted = products(model)[site].sum(dim=2).abs().mean(dim=0)
    assert found.effect == pytest.approx(wanted.numpy(), rel=1e-3, abs=1e-6)


def test_shards_merge():
    model = tiny_llama()
    sites = find_layout(model).sites
    wanted = first_order(model, "layer", batched(SAMPLES, 2))
    fold = FirstOrder(sites, "layer", len(SAMPLES))
    left, right = (
        run_folds(model, sites, batched(some), [fold])[0]
        for some in (SAMPLES[3:], SAMPLES[:3])
    )
    merged = {site: fold.merge(left[site], right[site]) for site in sites}
    found = np.concatenate([one.effect for one in fold.effects(merged)])
    assert found == pytest.approx(wanted, rel=1e-5)


def test_weights_of_chosen_units_are_theirs():
    model = tiny_llama()
    sites = find_layout(model).sites
    for grain in GRAINS:
        masks = [held for held, _ in naive_units(sites, grain)]
        for units in unit_sets(sites, grain):
            here = masks[: units.num_units]
            del masks[: units.num_units]
            chosen = [0, units.num_units - 1]
            members = weights_of(units, sorted(set(chosen)))
            for site, index in members.items():
                wanted = here[chosen[0]][site] | here[chosen[1]][site]
                assert index.tolist() == wanted.flatten().nonzero()[:, 0].tolist()
            assert not any(index.size for index in weights_of(units, []).values())
        assert not masks


def test_parts_that_make_no_whole_units_are_named():
    shapes = {"up": (6, 4), "down": (4, 5)}
    sites = [
        Site(path=part, layer=3, part=part, num_rows=rows, num_columns=columns)
        for part, (rows, columns) in shapes.items()
    ]
    with pytest.raises(MeasureError, match=r"block 3: .*neuron \(up 6, down 5\)"):
        unit_sets(sites, "neuron")
    with pytest.raises(MeasureError, match="no matrix that holds a head"):
        unit_sets(sites, "head")
    q = Site(path="q", layer=0, part="q", num_rows=4, num_columns=4)
    with pytest.raises(MeasureError, match="q: it is not known how heads share it"):
        unit_sets([q], "head")


def test_effects_without_samples_are_an_error():
    sites = find_layout(tiny_llama()).sites
    fold = FirstOrder(sites, "row", 1)
    with pytest.raises(MeasureError, match="q_proj: no sample was scored"):
        fold.effects({site: fold.start(site) for site in sites})


def test_a_tally_takes_matrices_in_any_order():
    sites = find_layout(tiny_llama()).sites
    scores = {site: torch.rand(site.shape) for site in sites}
    tally = UnitTally(sites, "neuron")
    for site in reversed(sites):
        tally.add(site, scores[site])
    for found, wanted in zip(
        tally.result(), unit_scores(scores, "neuron"), strict=True
    ):
        assert np.array_equal(found.mass, wanted.mass)
