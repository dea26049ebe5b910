import pytest
import torch

from driftmap.capture.stream import run_folds
from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.measure.covariance import InputCovariance, InputMeans, one_per_input
from tiny import tiny_llama
from tiny_batches import batched, tiny_samples
from tiny_families import FAMILY_NAMES, tiny_family

SAMPLES = tiny_samples(7, 4, 9, 6)
COUNTED = 3


def observed_inputs(model, site, samples, positions="response"):
    """Inputs of a map, sample by sample and unpadded, at the tokens that count."""
    seen = []
    module = model.get_submodule(site.path)
    handle = module.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    for sample in samples:
        with torch.no_grad():
            model(input_ids=sample.token_ids[None], use_cache=False)
    handle.remove()
    first = {"response": -COUNTED - 1, "labels": -COUNTED, "all": None}[positions]
    last = -1 if positions == "response" else None
    return torch.cat([x.reshape(-1, x.shape[-1])[first:last] for x in seen])


def covariances(model, batches, fold=None):
    sites = find_layout(model).sites
    return run_folds(model, sites, batches, [fold or InputCovariance()])[0]


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3", "opt"])
@pytest.mark.parametrize("positions", ["response", "labels", "all"])
def test_it_is_what_a_loop_over_single_samples_gives(name, positions):
    model = tiny_family(name)
    batches = batched(SAMPLES, 2, positions=positions)
    for site, found in covariances(model, batches).items():
        X = observed_inputs(model, site, SAMPLES, positions).double()
        assert found.num_tokens == len(X)
        assert found.product.dtype == torch.float64
        torch.testing.assert_close(found.product, X.T @ X, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.mean, X.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_and_padding_change_nothing(size, side):
    model = tiny_llama()
    expected = covariances(model, batched(SAMPLES))
    found = covariances(model, batched(SAMPLES, size, side=side, extra=2))
    for site, one in expected.items():
        largest = one.product.abs().max()
        assert found[site].num_tokens == one.num_tokens
        assert (found[site].product - one.product).abs().max() <= 1e-6 * largest


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_maps_that_share_an_input_are_watched_once(name):
    model = tiny_family(name)
    found = covariances(model, batched(SAMPLES))
    watched = one_per_input(find_layout(model).sites)
    assert {site.part for site in watched.values()} <= {"q", "o", "gate", "up", "down"}
    for site, other in watched.items():
        assert torch.equal(found[site].product, found[other].product)
        assert found[site].num_tokens == found[other].num_tokens


def test_sums_of_disjoint_samples_merge():
    model, fold = tiny_llama(), InputCovariance()
    whole = covariances(model, batched(SAMPLES))
    left, right = (
        covariances(model, batched(some)) for some in (SAMPLES[:1], SAMPLES[1:])
    )
    for site, one in whole.items():
        merged = fold.merge(left[site], right[site])
        torch.testing.assert_close(merged.product, one.product, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(merged.total, one.total, rtol=1e-5, atol=1e-5)
        assert merged.num_tokens == one.num_tokens
        assert fold.merge(fold.start(site), one).product is one.product
        assert fold.merge(one, fold.start(site)).product is one.product


def test_means_alone_keep_a_vector_a_map():
    model = tiny_llama()
    means = covariances(model, batched(SAMPLES), InputMeans())
    whole = covariances(model, batched(SAMPLES))
    for site, one in means.items():
        assert one.product is None
        assert torch.equal(one.total, whole[site].total)
        assert InputMeans().num_bytes(site) == 8 * site.num_columns


def test_a_mean_without_a_token_is_not_a_number():
    site = find_layout(tiny_llama()).sites[0]
    assert InputMeans().start(site).mean.isnan().all()


def test_what_is_held_does_not_grow_with_the_tokens():
    model, fold = tiny_llama(), InputCovariance()
    site = find_layout(model).sites[0]
    few = run_folds(model, [site], batched(SAMPLES[:1]), [fold])[0][site]
    many = run_folds(model, [site], batched(SAMPLES * 5, 2), [fold])[0][site]
    assert many.num_tokens > 10 * few.num_tokens
    held = [one.product.untyped_storage().nbytes() for one in (few, many)]
    assert held == [8 * site.num_columns**2] * 2
    assert fold.num_bytes(site) >= held[0]


def test_a_sample_without_a_token_that_counts_is_refused():
    (batch,) = batched(SAMPLES[:1])
    batch.observed[:] = False
    with pytest.raises(MeasureError, match="s0"):
        covariances(tiny_llama(), [batch])
