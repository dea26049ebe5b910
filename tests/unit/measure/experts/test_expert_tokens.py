"""Do pulls of tokens equal those that whole gradients give?"""

import numpy as np
import pytest

import made_experts as me
from driftmap.core.errors import MeasureError
from driftmap.measure.experts.tokens import TokenPushFold

KINDS = {"halves": False, "interleaved": True}
CHOSEN = np.array([[1, 2], [0, 1]])


def world(*, interleaved=False):
    return me.made([me.layout(n, interleaved=interleaved) for n in range(2)], seed=4)


def folded(made, batches=([0, 1, 2], [5, 3, 4])):
    fold = TokenPushFold(made.banks, CHOSEN)
    for batch in batches:
        for signal in me.signals(made, batch):
            fold.take(signal)
    return fold.result()


def parts(values, *, interleaved):
    """Gate and up rows of an output of both."""
    if interleaved:
        return {"gate": values[0::2], "up": values[1::2]}
    return {"gate": values[: me.INNER], "up": values[me.INNER :]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_what_a_loop_gives(kind):
    made, mixed = world(interleaved=KINDS[kind]), KINDS[kind]
    found = folded(made)
    row = 0
    for bank, expert in sorted(map(tuple, CHOSEN.tolist())):
        for sample in range(6):
            tokens = me.visits(made, bank, expert, sample)
            G = me.gradient(made, bank, expert, sample)
            whole = {"down": G["down"], **parts(G["gate_up"], interleaved=mixed)}
            for token in sorted(tokens, key=lambda t: t.place):
                at = (found.bank, found.expert, found.sample, found.token)
                wanted = (bank, expert, sample, token.place)
                assert tuple(int(axis[row]) for axis in at) == wanted
                d = {
                    "down": token.gradients["down"],
                    **parts(token.gradients["gate_up"], interleaved=mixed),
                }
                x = {**dict.fromkeys(("gate", "up"), token.inputs["gate_up"]),
                     "down": token.inputs["down"]}  # fmt: skip
                push = sum(np.linalg.norm(d[p]) * np.linalg.norm(x[p]) for p in d)
                assert found.push[row] == pytest.approx(push, rel=1e-5)
                for part, matrix in whole.items():
                    share = d[part] @ matrix @ x[part] / (matrix**2).sum()
                    assert found.share[part][row] == pytest.approx(
                        share, rel=1e-3, abs=1e-5
                    )
                row += 1
    assert row == len(found.push)
    assert found.sample_ids == tuple(f"s{n}" for n in range(6))


def test_shares_of_a_sample_at_an_expert_sum_to_one():
    found = folded(world())
    keys = np.stack([found.bank, found.expert, found.sample], axis=1)
    for key in np.unique(keys, axis=0):
        own = (keys == key).all(axis=1)
        for share in found.share.values():
            assert share[own].sum() == pytest.approx(1.0)


def test_a_gradient_of_nothing_has_no_shares():
    made = me.made([me.layout(0), me.layout(1)], seed=4, scale=0.0)
    found = folded(made)
    assert not found.push.any()
    assert not any(share.any() for share in found.share.values())


def test_what_is_missing_or_double_is_named():
    made = world()
    shown = [s for s in me.signals(made, [0]) if s.bank.layer == 1]
    fold = TokenPushFold(made.banks, np.array([[1, e] for e in range(4)]))
    fold.take(shown[0])
    with pytest.raises(MeasureError, match=r"nothing of \['gate', 'up'\] came for"):
        fold.result()
    with pytest.raises(MeasureError, match="`down` came twice for sample s0"):
        fold.take(shown[0])
    whole = next(me.whole_gradients(made, 0))
    with pytest.raises(MeasureError, match="single tokens cannot be told apart"):
        fold.take(whole)


def test_no_row_is_no_error():
    made = world()
    found = TokenPushFold(made.banks, CHOSEN).result()
    assert found.push.size == 0
