"""Does each measure and intervention mean the same on every proved family?"""

from functools import partial

import numpy as np
import pytest
import torch

from driftmap.capture.stream import run_folds
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight, site_module, site_weight
from driftmap.intervene.heads import zero_heads
from driftmap.intervene.regions import columns_of_head, num_heads
from driftmap.intervene.weights import keep_only, restore, zero
from driftmap.measure.covariance import InputCovariance, one_per_input
from driftmap.measure.first_order import FirstOrder
from driftmap.measure.magnitude import chance, difference, magnitude
from driftmap.measure.removal import output_directions, without_top
from driftmap.measure.select import difference as without_utility
from driftmap.measure.select import n_of_m, top
from driftmap.measure.snip import SNIP_BATCH, Snip, SnipKind
from driftmap.measure.units import unit_scores
from driftmap.measure.wanda import Wanda
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.heads import Head
from driftmap.store.groups import load_group, save_group
from laws.invariance import assert_matches_oracle
from laws.restores import assert_restores_model
from tiny_batches import batched, one_by_one_gradients, tiny_samples
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family, tiny_tokens

FAST = ("llama", "gpt2", "phi3", "falcon_grouped", "gemma3")
"""Plain, turned, fused in blocks, fused by head, of its own head size."""

EVERY_NAME = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in FAMILY_NAMES + ROW_NAMES
]
SAMPLES = tiny_samples(7, 4, 6)
COUNTED = 3
GRAINS = ("row", "column", "head", "kv_head", "neuron", "module", "layer")

pytestmark = pytest.mark.parametrize("name", EVERY_NAME)


@pytest.fixture(scope="module")
def shown():
    """What single samples show of a family, by plain hooks and autograd, once."""
    found = {}

    def of(name):
        if name not in found:
            model = tiny_family(name)
            found[name] = model, plain_gradients(model), plain_inputs(model)
        return found[name]

    return of


def test_every_score_is_its_definition(shown, name):
    model, gradients, inputs = shown(name)
    other = tiny_family(name, seed=1)
    weight, base = (partial(effective_weight, m) for m in (model, other))
    kinds = {
        "snip": SnipKind(),
        "none": SnipKind(factor="none"),
        "difference": SnipKind(factor="difference", base=base),
        "batch": SNIP_BATCH,
    }
    folds = [Snip(weight, kind) for kind in kinds.values()]
    sites = find_layout(model).sites
    with assert_restores_model(model):
        *snips, wanda = run_folds(
            model, sites, batched(SAMPLES, 2), [*folds, Wanda(weight)]
        )
    plain = dict(zip(kinds, snips, strict=True))
    moved = {site: (site_weight(model, site) - base(site)).abs() for site in sites}
    size = {site: site_weight(model, site).abs() for site in sites}
    mean = {site: G.abs().mean(dim=0) for site, G in gradients.items()}
    wanted = {
        "snip": {site: size[site] * mean[site] for site in sites},
        "none": mean,
        "difference": {site: moved[site] * mean[site] for site in sites},
        "batch": {s: size[s] * gradients[s].mean(dim=0).abs() for s in sites},
    }
    for kind, oracle in wanted.items():
        assert_matches_oracle(plain[kind], oracle)
    rms = {site: inputs[site].square().mean(dim=0).sqrt() for site in sites}
    assert_matches_oracle(wanda, {site: size[site] * rms[site] for site in sites})
    for site in sites:
        assert torch.equal(magnitude(site, weight), size[site])
        assert torch.equal(difference(site, weight, base), moved[site])
        drawn = chance(site, 0)
        assert drawn.shape == site.shape
        assert not torch.equal(drawn, chance(site, 1))


def test_units_hold_every_weight_of_their_parts_once(shown, name):
    model, gradients, _ = shown(name)
    sites = find_layout(model).sites
    of = {s: site_weight(model, s).double() * gradients[s] for s in sites}
    scores = {site: terms.abs().mean(dim=0) for site, terms in of.items()}
    folds = {grain: FirstOrder(sites, grain, len(SAMPLES)) for grain in GRAINS}
    seen = run_folds(model, sites, batched(SAMPLES, 2), list(folds.values()))
    parts = {"head": "qo", "kv_head": "kv", "neuron": ("gate", "up", "down")}
    for (grain, fold), terms in zip(folds.items(), seen, strict=True):
        scored = unit_scores(scores, grain)
        held = [s for s in sites if s.part in parts.get(grain, {s.part})]
        whole = sum(scores[site].sum().item() for site in held)
        assert sum(one.mass.sum() for one in scored) == pytest.approx(whole, rel=1e-9)
        sizes = [one.units.num_weights * one.units.num_units for one in scored]
        assert sum(sizes) == sum(site.num_weights for site in held)
        for effects, masses in zip(fold.effects(terms), scored, strict=True):
            assert (effects.effect <= masses.mass * (1 + 1e-4) + 1e-9).all()
            wanted = naive_effects(effects.units, of)
            np.testing.assert_allclose(effects.effect, wanted, rtol=1e-3, atol=1e-6)


def test_groups_are_chosen_kept_and_read(shown, name, tmp_path):
    model, gradients, _ = shown(name)
    scores = {site: G.abs().mean(dim=0).float() for site, G in gradients.items()}
    useful = {site: site_weight(model, site).abs() for site in scores}
    chosen = {
        per: top(scores, 0.1, per=per) for per in ("matrix", "row", "layer", "global")
    }
    every = np.concatenate([score.reshape(-1).numpy() for score in scores.values()])
    for site, score in scores.items():
        flat = score.reshape(-1).numpy()
        order = np.lexsort((np.arange(flat.size), -flat))
        by_matrix = np.sort(order[: int(0.1 * flat.size)])
        assert np.array_equal(chosen["matrix"][site], by_matrix)
        places = chosen["row"][site] // site.num_columns
        per_row = np.bincount(places, minlength=site.num_rows)
        assert set(per_row) == {max(1, int(0.1 * site.num_columns))}
        kept = n_of_m({site: score}, 2, 4)[site]
        assert set(np.bincount(kept // 4, minlength=flat.size // 4)) == {2}
    count = int(0.1 * every.size)
    least = np.sort(every)[-count]
    assert sum(index.size for index in chosen["global"].values()) == count
    for site, index in chosen["global"].items():
        assert scores[site].reshape(-1)[index].ge(least).all()
    told = without_utility(scores, useful, p=0.1, q=0.1)
    for site, index in told.items():
        assert not set(index) & set(top({site: useful[site]}, 0.1)[site])
        assert set(index) <= set(chosen["matrix"][site])
    origin = GroupOrigin(model_sha256="a" * 64, base_sha256="a" * 64, rule="top")
    group = WeightGroup(name="told", members=told, origin=origin)
    save_group(tmp_path / "told.safetensors", group)
    again = load_group(tmp_path / "told.safetensors").members
    assert list(again) == [site for site, index in told.items()]
    assert all(np.array_equal(again[site], told[site]) for site in told)


def test_weights_go_stay_and_come_back(name):
    model, base = tiny_family(name), tiny_family(name, seed=1)
    sites = find_layout(model).sites
    chosen = {s: np.arange(0, s.num_weights, 3) for s in sites if s.layer == 1}
    origin = GroupOrigin(model_sha256="a" * 64, base_sha256="a" * 64, rule="top")
    group = WeightGroup(name="third", members=chosen, origin=origin)
    before = {site: site_weight(model, site).clone() for site in sites}
    edits = {
        "zero": lambda: zero(model, group),
        "keep": lambda: keep_only(model, group, sites),
        "restore": lambda: restore(model, group, partial(site_weight, base)),
    }
    for edit, begin in edits.items():
        with assert_restores_model(model), begin():
            for site in sites:
                inside = torch.zeros(site.num_weights, dtype=torch.bool)
                inside[torch.from_numpy(chosen.get(site, np.arange(0)))] = True
                was, now = before[site].reshape(-1), site_weight(model, site)
                wanted = {
                    "zero": torch.where(inside, 0, was),
                    "keep": torch.where(inside, was, 0),
                    "restore": torch.where(
                        inside, site_weight(base, site).reshape(-1), was
                    ),
                }[edit]
                assert torch.equal(now.reshape(-1), wanted), site.key


def test_a_head_without_columns_says_nothing(name):
    model = tiny_family(name)
    output = next(s for s in find_layout(model).sites if s.part == "o" and s.layer)
    head = num_heads(output) - 1
    columns = list(columns_of_head(output, head))

    def silent(_module, args):
        args[0][..., columns] = 0

    handle = site_module(model, output).register_forward_pre_hook(silent)
    wanted = logits(model)
    handle.remove()
    with assert_restores_model(model), zero_heads(model, [Head(layer=1, number=head)]):
        torch.testing.assert_close(logits(model), wanted)
    assert not torch.allclose(logits(model), wanted, atol=1e-4)


def test_ranks_go_as_if_all_outputs_had_been_kept(shown, name):
    model, _, inputs = shown(name)
    sites = find_layout(model).sites
    watched = one_per_input(sites)
    seen = run_folds(
        model, list(dict.fromkeys(watched.values())), batched(SAMPLES, 2),
        [InputCovariance()],
    )[0]  # fmt: skip
    for site in sites:
        moments, W = seen[watched[site]], site_weight(model, site).double()
        found = output_directions(W, moments.product, moments.num_tokens)
        _, _, V = torch.linalg.svd(inputs[site] @ W.T, full_matrices=False)
        wanted = W - V[:2].T @ (V[:2] @ W)
        left = without_top(W, found, 2)
        torch.testing.assert_close(left, wanted, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(left, W, atol=1e-2)


def plain_gradients(model):
    """`[sample row column]` per site, one backward a sample, in float64."""
    layout = find_layout(model)
    modules = list({site.path: site for site in layout.sites}.values())
    found = {site: [] for site in layout.sites}
    for gradients in one_by_one_gradients(model, modules, SAMPLES):
        by_path = {site.path: gradient for site, gradient in gradients.items()}
        for site in layout.sites:
            G = by_path[site.path].T if site.transposed else by_path[site.path]
            cut = G if site.split is None else G[site.split.rows()]
            found[site].append(cut.double())
    return {site: torch.stack(of_site) for site, of_site in found.items()}


def plain_inputs(model):
    """`[token column]` per site at the tokens that predict a response, in float64."""
    layout = find_layout(model)
    heard = {site.path: [] for site in layout.sites}
    for sample in SAMPLES:
        hooks = [
            model.get_submodule(path).register_forward_pre_hook(
                lambda _, args, kept=kept: kept.append(args[0].detach())
            )
            for path, kept in heard.items()
        ]
        with torch.no_grad():
            model(input_ids=sample.token_ids[None], use_cache=False)
        for hook in hooks:
            hook.remove()
    counted = slice(-COUNTED - 1, -1)
    return {
        site: torch.cat(
            [x.reshape(-1, x.shape[-1])[counted].double() for x in heard[site.path]]
        )
        for site in layout.sites
    }


def naive_effects(units, of):
    """Mean over samples of |sum of W G| over what zeroing the unit takes away."""
    read = {"head": "o", "neuron": "down"}.get(units.grain)
    wanted = []
    for number in range(units.num_units):
        total = 0.0
        for piece in units.pieces:
            if read is None or piece.site.part == read:
                span = slice(number * piece.size, (number + 1) * piece.size)
                terms = of[piece.site]
                cut = {"row": terms[:, span], "column": terms[:, :, span]}
                total = total + cut.get(piece.axis, terms).sum(dim=(1, 2))
        wanted.append(total.abs().mean().item())
    return wanted


def logits(model):
    with torch.no_grad():
        return model(input_ids=tiny_tokens(), use_cache=False).logits
