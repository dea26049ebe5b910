"""Are scores of experts what a loop over single samples and numbers gives?"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import made_experts as me
from driftmap.core.errors import MeasureError
from driftmap.measure.experts.gradients import STATISTICS, ExpertScoreFold
from driftmap.measure.experts.passes import merged, with_abs_of_sum
from driftmap.measure.experts.sums import ExpertSumFold
from driftmap.results.expert_evidence import ChoiceRule
from driftmap.stats.experts.selection import choose

BATCHES = ([0, 1, 2, 3], [4, 5])
KINDS = {
    "plain": {},
    "biases": {"bias": True},
    "transposed": {"transposed": True, "bias": True, "interleaved": True},
}


def world(seed=0, **kind):
    return me.made([me.layout(0, **kind), me.layout(1, experts=3, **kind)], seed)


def folded(made, batches=BATCHES, statistics=STATISTICS, **options):
    fold = ExpertScoreFold(made.banks, statistics, made.slices, **options)
    for batch in batches:
        for signal in me.signals(made, list(batch)):
            fold.take(signal)
    return fold.result()


def by_sample(made, of_numbers):
    """One number per sample and expert, from all numbers of its gradient."""
    shape = (len(made.counted), len(made.banks), 4)
    maps = np.full(shape, np.nan)
    for sample in range(shape[0]):
        for bank, layout in enumerate(made.banks):
            for expert in range(layout.place.num_experts):
                G = me.pooled(me.gradient(made, bank, expert, sample))
                W = me.pooled(me.weights_of(made, bank, expert))
                maps[sample, bank, expert] = of_numbers(G, W)
    return maps


def by_batch(made, batches):
    """Mean |G_b| of every batch."""
    maps = np.full((len(batches), len(made.banks), 4), np.nan)
    for number, batch in enumerate(batches):
        total = sum(made.counted[n] for n in batch)
        for bank, layout in enumerate(made.banks):
            for expert in range(layout.place.num_experts):
                G = sum(
                    made.counted[n] / total
                    * me.pooled(me.gradient(made, bank, expert, n))
                    for n in batch
                )  # fmt: skip
                maps[number, bank, expert] = np.abs(G).mean()
    return maps


def equal(found, wanted, tolerance=2e-5):
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    known = ~np.isnan(wanted)
    assert np.allclose(found[known], wanted[known], rtol=tolerance, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_every_statistic_is_what_loops_give(kind):
    made = world(**KINDS[kind])
    found = folded(made).scores
    size = by_sample(made, lambda G, W: np.abs(G).mean())
    equal(found.examples["mean_example_abs"], size)
    equal(found.scores["mean_example_abs"], size.mean(axis=0))
    norm = by_sample(made, lambda G, W: np.sqrt((G**2).mean()))
    equal(found.examples["mean_example_norm"], norm)
    weighted = by_sample(made, lambda G, W: np.abs(G * W).mean())
    equal(found.examples["mean_example_weight"], weighted)
    batches = by_batch(made, BATCHES)
    equal(found.scores["mean_batch_abs"], batches.mean(axis=0))
    equal(found.scores["last_batch"], batches[-1])
    tokens = found.routed_tokens.mean(axis=0)
    per_token = size.mean(axis=0) / np.where(tokens > 0, tokens, 1)
    equal(found.scores["per_token"], per_token)
    assert (found.batch_size, found.num_batches) == (4, 2)
    for sample, bank, expert in np.ndindex(found.routed_tokens.shape):
        visits = len(me.visits(made, bank, expert, sample))
        assert found.routed_tokens[sample, bank, expert] == visits


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("batches", [BATCHES, [[n] for n in range(6)]])
def test_a_statistic_alone_is_what_it_is_among_others(statistic, batches):
    made = world(bias=True)
    alone = folded(made, batches, (statistic,)).scores.scores[statistic]
    equal(alone, folded(made, batches).scores.scores[statistic])


@pytest.mark.parametrize("kind", KINDS)
def test_whole_gradients_say_what_rows_say(kind):
    made = world(**KINDS[kind])
    singly = [[n] for n in range(6)]
    rows = folded(made, singly, neurons=True)
    fold = ExpertScoreFold(made.banks, STATISTICS, made.slices, neurons=True)
    for sample in reversed(range(6)):
        for signal in me.whole_gradients(made, sample):
            fold.take(signal)
    whole = fold.result()
    assert whole.scores.sample_ids == rows.scores.sample_ids
    for name in set(STATISTICS) - {"last_batch"}:
        equal(whole.scores.scores[name], rows.scores.scores[name])
    for path, neurons in rows.neurons.items():
        equal(whole.neurons[path], neurons)


@pytest.mark.parametrize("statistic", ["mean_batch_abs", "mean_example_norm"])
def test_whole_gradients_alone_are_enough_for_one_statistic(statistic):
    made = world(bias=True)
    fold = ExpertScoreFold(made.banks, (statistic,))
    for sample in range(6):
        for signal in me.whole_gradients(made, sample):
            fold.take(signal)
    found = fold.result().scores.scores[statistic]
    equal(found, folded(made, [[n] for n in range(6)]).scores.scores[statistic])


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_are_rows_and_columns_and_their_mean_is_the_score(kind):
    made = world(**KINDS[kind])
    neurons = folded(made, neurons=True).neurons["layers.1.experts"]
    assert neurons.shape == (3, me.INNER)
    interleaved = KINDS[kind].get("interleaved", False)
    for expert in range(3):
        sizes = np.zeros(me.INNER)
        for sample in range(6):
            G = me.gradient(made, 1, expert, sample)
            for j in range(me.INNER):
                gate, up = (2 * j, 2 * j + 1) if interleaved else (j, me.INNER + j)
                own = [G["gate_up"][gate], G["gate_up"][up], G["down"][:, j]]
                sizes[j] += np.abs(np.concatenate(own)).mean() / 6
        equal(neurons[expert], sizes)
    if kind == "plain":
        score = folded(made).scores.scores["mean_example_abs"]
        equal(neurons.mean(axis=1), score[1, :3])


def test_batch_size_and_order_change_no_mean_over_examples():
    made = world()
    one = folded(made).scores
    for batches in ([[5], [4, 0, 2], [3, 1]], [[n] for n in range(6)]):
        other = folded(made, batches).scores
        assert other.sample_ids == one.sample_ids
        for name, maps in one.examples.items():
            equal(other.examples[name], maps, 1e-6)
        assert np.array_equal(other.routed_tokens, one.routed_tokens)


def test_batch_size_one_makes_batches_examples():
    made = world()
    found = folded(made, [[n] for n in range(6)]).scores.scores
    equal(found["mean_batch_abs"], found["mean_example_abs"], 1e-6)


def test_a_sum_is_at_most_the_batches_and_these_at_most_the_examples():
    made = world()
    equal_counts = me.Made(
        banks=made.banks, tokens=made.tokens, counted=(3,) * 6, weights=made.weights
    )
    batches = [[0, 1, 2], [3, 4, 5]]
    scores = folded(equal_counts, batches).scores.scores
    whole = summed(equal_counts, batches)
    known = ~np.isnan(whole)
    assert (whole[known] <= scores["mean_batch_abs"][known] * (1 + 1e-6)).all()
    batch, example = scores["mean_batch_abs"], scores["mean_example_abs"]
    assert (batch[known] <= example[known] * (1 + 1e-6)).all()


def test_scaled_gradients_scale_scores():
    small, large = (
        me.made([me.layout(0), me.layout(1)], seed=3, scale=scale)
        for scale in (1.0, 7.0)
    )
    for name, score in folded(small).scores.scores.items():
        equal(folded(large).scores.scores[name], 7 * score)


def test_renamed_experts_keep_their_scores():
    made, order = world(bias=True), {0: 2, 1: 0, 2: 1, 3: 3}
    tokens = tuple(replace(t, expert=order[t.expert]) for t in made.tokens)
    weights = {(p, order[e]): held for (p, e), held in made.weights.items()}
    turned = replace(made, tokens=tokens, weights=weights)
    one, other = folded(made).scores, folded(turned).scores
    places = [order[e] for e in range(4)]
    for name, score in one.scores.items():
        equal(other.scores[name][:, places], score, 1e-6)


def test_repeated_samples_change_no_mean():
    made = world()
    again = tuple(replace(t, sample=t.sample + 6) for t in made.tokens)
    double = replace(made, tokens=made.tokens + again, counted=made.counted * 2)
    batches = [*BATCHES, *([n + 6 for n in batch] for batch in BATCHES)]
    one, other = folded(made).scores, folded(double, batches).scores
    for name, score in one.scores.items():
        equal(other.scores[name], score, 1e-6)


def test_an_expert_without_tokens_scores_exactly_zero():
    found = folded(world()).scores
    assert found.routed_tokens[:, 0, 3].sum() == 0
    for score in found.scores.values():
        assert score[0, 3] == 0


def test_any_split_of_the_samples_joins_to_one_pass():
    made = world(bias=True)
    one = folded(made, BATCHES, neurons=True)
    names = tuple(name for name in STATISTICS if "batch" not in name)
    odd = folded(made, [[5, 1], [3]], names, neurons=True)
    even = folded(made, [[0, 2, 4]], names, neurons=True)
    both = merged(odd, even)
    assert both.scores.sample_ids == one.scores.sample_ids
    for name in names:
        equal(both.scores.scores[name], one.scores.scores[name], 1e-6)
    for path, neurons in one.neurons.items():
        equal(both.neurons[path], neurons, 1e-6)


def test_shards_that_end_between_batches_join_statistics_of_batches():
    made = world()
    one = folded(made)
    both = merged(folded(made, BATCHES[:1]), folded(made, BATCHES[1:]))
    assert both.scores.scores.keys() == one.scores.scores.keys()
    for name, score in one.scores.scores.items():
        assert np.array_equal(both.scores.scores[name], score, equal_nan=True), name
    assert both.scores.batch_size == 4
    assert np.array_equal(both.batches, one.batches, equal_nan=True)


def summed(made, batches, chosen=None):
    if chosen is None:
        sizes = [layout.place.num_experts for layout in made.banks]
        chosen = np.array([(b, e) for b, n in enumerate(sizes) for e in range(n)])
    fold = ExpertSumFold(made.banks, chosen)
    for batch in batches:
        for signal in me.signals(made, list(batch)):
            fold.take(signal)
    return fold.result()


def test_the_second_pass_sums_before_it_takes_sizes():
    made = world(bias=True)
    first = folded(made)
    chosen = choose(first.scores.scores["mean_example_abs"], ChoiceRule(k=3))
    found = summed(made, BATCHES, chosen)
    assert np.isnan(found).sum() == found.size - 3
    for bank, expert in chosen:
        total = 0
        for batch in BATCHES:
            tokens = sum(made.counted[n] for n in batch)
            total = total + sum(
                made.counted[n] / tokens * me.pooled(me.gradient(made, bank, expert, n))
                for n in batch
            )
        assert found[bank, expert] == pytest.approx(np.abs(total / 2).mean(), rel=1e-5)
    added = with_abs_of_sum(first, found)
    assert np.array_equal(added.scores.scores["abs_of_sum"], found, equal_nan=True)


def test_sums_of_shards_join():
    made, chosen = world(bias=True), np.array([[0, 1], [1, 2]])
    one, two = (ExpertSumFold(made.banks, chosen) for _ in range(2))
    assert one.num_bytes == 4 * 2 * (
        3 * me.INNER * me.HIDDEN + 2 * me.INNER + me.HIDDEN
    )
    for fold, batch in zip((one, two), BATCHES, strict=True):
        for signal in me.signals(made, batch):
            fold.take(signal)
    one.merge(two)
    equal(one.result(), summed(made, BATCHES, chosen), 1e-6)


def test_whole_gradients_sum_alike():
    made, chosen = world(bias=True, transposed=True), np.array([[0, 1], [1, 2]])
    fold = ExpertSumFold(made.banks, chosen)
    for sample in range(6):
        for signal in me.whole_gradients(made, sample):
            fold.take(signal)
    equal(fold.result(), summed(made, [[n] for n in range(6)], chosen))


def test_half_precision_rows_are_summed_in_full_precision():
    made = world()
    fold = ExpertScoreFold(made.banks, ("mean_example_abs",))
    for signal in me.signals(made, [0, 1]):
        fold.take(
            replace(
                signal,
                inputs=signal.inputs.bfloat16(),
                output_gradients=signal.output_gradients.bfloat16(),
            )
        )
    found = fold.result().scores.scores["mean_example_abs"]
    exact = folded(made, [[0, 1]]).scores.scores["mean_example_abs"]
    equal(found, exact, 3e-2)


def test_nothing_is_left_out_silently():
    made = world()
    with pytest.raises(MeasureError, match="no sample came to be scored"):
        ExpertScoreFold(made.banks, ("per_token",)).result()
    fold = ExpertScoreFold(made.banks, ("per_token",))
    shown = list(me.signals(made, [0, 1]))
    fold.take(shown[0])
    with pytest.raises(MeasureError, match=r"layers\.1\.experts: `down` came twice"):
        fold.take(shown[0])
    with pytest.raises(MeasureError, match=r"layers\.0\.experts: no gradient of this"):
        fold.result()
    for signal in shown[2:]:
        fold.take(signal)
    missing = r"layers\.1\.experts: nothing of \['gate_up'\] came for samples \['s0'"
    with pytest.raises(MeasureError, match=missing):
        fold.result()


def test_a_number_that_is_none_is_named():
    made = world()
    fold = ExpertScoreFold(made.banks, ("mean_example_abs",))
    for signal in me.signals(made, [0, 1]):
        if signal.bank.layer == 1 and signal.tensor == "down":
            last = signal.inputs
            last[int(signal.start[-2])] = torch.nan
        fold.take(signal)
    message = r"layers\.1\.experts: the gradient of \['s\d'\] is not finite"
    with pytest.raises(MeasureError, match=message):
        fold.result()


def test_a_bank_that_does_not_tell_its_tokens_is_told():
    made = world()
    fold = ExpertScoreFold(made.banks, ("per_token",))
    for sample in range(6):
        for signal in me.whole_gradients(made, sample, told=False):
            fold.take(signal)
    with pytest.raises(MeasureError, match="does not tell how many tokens"):
        fold.result()
    counts = folded(made).scores.routed_tokens
    found = fold.result(counts).scores
    assert np.array_equal(found.routed_tokens, counts)
    equal(found.scores["per_token"], folded(made).scores.scores["per_token"])


def test_banks_in_batches_of_different_sizes_give_no_batch_statistic():
    made = world()
    fold = ExpertScoreFold(made.banks, ("mean_batch_abs",))
    for signal in me.signals(made, [0, 1]):
        if signal.bank.layer == 0:
            fold.take(signal)
    for sample in (0, 1):
        for signal in me.signals(made, [sample]):
            if signal.bank.layer == 1:
                fold.take(signal)
    with pytest.raises(MeasureError, match=r"batches of different sizes, so"):
        fold.result()


def test_shards_of_different_passes_do_not_join():
    made = world()
    one = folded(made, BATCHES[:1])
    with pytest.raises(MeasureError, match="sample 0 is in two shards"):
        merged(one, one)
    with pytest.raises(MeasureError, match="different experts or statistics"):
        merged(one, folded(made, BATCHES[1:], ("per_token",)))
    scored = with_abs_of_sum(one, one.scores.scores["per_token"])
    other = with_abs_of_sum(folded(made, BATCHES[1:]), one.scores.scores["per_token"])
    with pytest.raises(MeasureError, match="`abs_of_sum` of shards cannot be joined"):
        merged(scored, other)
    with pytest.raises(MeasureError, match="sum gradients of different experts"):
        ExpertSumFold(made.banks, np.array([[0, 1]])).merge(
            ExpertSumFold(made.banks, np.array([[0, 2]]))
        )
