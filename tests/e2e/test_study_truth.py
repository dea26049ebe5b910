"""Are a study's results what a reader gets by hand from its files?"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from driftmap.cli.main import main
from driftmap.evaluate.refusal import is_refusal
from driftmap.load.encoding import Encoding, encode
from driftmap.load.samples import read_samples
from driftmap.results.groups import WeightGroup
from driftmap.stats.bins import quantile_bins
from driftmap.store.groups import load_group
from driftmap.store.tables import load_table
from tiny_studies import save_tiny_data, save_tiny_model, study_words, write_rows

SEED, NUM_SAMPLES, P, Q, SHARE = 7, 6, 0.2, 0.1, 0.03
STEPS, TOKENS, SEEDS = (0, 5, 10), 8, (0, 1)
PROMPTS = "requests to refuse"

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Made:
    model: Path
    data: dict[str, Path]
    out: Path
    groups: dict[str, WeightGroup]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study in which a random model learns to refuse some requests and not others."""
    folder = tmp_path_factory.mktemp("truth")
    model = save_tiny_model(folder / "model", hidden=32)
    data = save_tiny_data(folder)
    learnt = [("name number {}", "I cannot help"), ("what is {} plus", "three four")]
    rows = [{"prompt": a.format(n), "response": b} for a, b in learnt for n in range(6)]
    data["tune"] = write_rows(folder / "tune.jsonl", rows)
    changes = {
        "p": P, "q": Q, "share": SHARE, "num-samples": NUM_SAMPLES,
        "held-out": data["tune"], "max-new-tokens": TOKENS, "num-eval-samples": 12,
        "max-steps": STEPS[-1], "save-steps": STEPS[1], "batch-size": 6,
        "learning-rate": 0.03, "seed": SEED,
    }  # fmt: skip
    flags = {w.partition("=")[0]: w for w in study_words(model, data, folder / "run")}
    for name, value in changes.items():
        flags[f"--{name}"] = f"--{name}={value}"
    assert main(list(flags.values())) == 0
    files = (folder / "run/groups").glob("*.safetensors")
    groups = {file.stem: load_group(file) for file in files}
    return Made(model=model, data=data, out=folder / "run", groups=groups)


def load_plain(made):
    return AutoModelForCausalLM.from_pretrained(made.model).eval()


def adapted(made, seed, step):
    """The model with a checkpoint on it, as anybody would load it with peft."""
    folder = made.out / f"checkpoints/seed-{seed}/step-{step:06d}"
    return PeftModel.from_pretrained(load_plain(made), folder).eval()


def adapter_tensors(made, seed, step, kind):
    named = adapted(made, seed, step).named_parameters()
    return {name: tensor.detach() for name, tensor in named if kind in name}


def all_sites(made):
    return made.groups["random"].members


def matrices(model, made):
    return {s: model.get_submodule(s.path).weight for s in all_sites(made)}


@pytest.fixture(scope="module")
def merged(made):
    """|merged - before| of every matrix under every seed, in float64."""
    before = {
        s: w.detach().double() for s, w in matrices(load_plain(made), made).items()
    }
    found = []
    for seed in SEEDS:
        after = matrices(
            adapted(made, seed, STEPS[-1]).double().merge_and_unload(), made
        )
        found.append(
            {s: (after[s].detach() - w).abs().numpy() for s, w in before.items()}
        )
    return found


def slow_scores(made, role):
    """|W| times the mean over samples of |gradient|, one sample and backward a time."""
    tokenizer = AutoTokenizer.from_pretrained(made.model)
    model = load_plain(made)
    drawn = read_samples(str(made.data[role]), num_samples=NUM_SAMPLES, seed=SEED)
    encoded = encode(drawn.samples, tokenizer, Encoding())
    assert len(encoded) == NUM_SAMPLES
    weights = matrices(model, made)
    totals = {site: torch.zeros_like(weight) for site, weight in weights.items()}
    for sample in encoded:
        model.zero_grad()
        ids = torch.from_numpy(sample.token_ids).long()
        counted = torch.from_numpy(sample.counted)
        logits = model(ids[None]).logits[0]
        cross_entropy(logits[:-1][counted[1:]], ids[counted]).backward()
        for site, weight in weights.items():
            totals[site] += weight.grad.abs()
    return {
        site: (weight.detach().abs() * totals[site] / NUM_SAMPLES).numpy().ravel()
        for site, weight in weights.items()
    }


def highest(scores, share):
    order = np.lexsort((np.arange(scores.size), -scores))
    return set(order[: int(share * scores.size)].tolist())


def jaccard(group, expected):
    pairs = [(set(group.at(s).tolist()), of_site) for s, of_site in expected.items()]
    return sum(len(a & b) for a, b in pairs) / sum(len(a | b) for a, b in pairs)


def test_groups_hold_what_a_slow_loop_over_samples_selects(made):
    behaviour, utility = (slow_scores(made, r) for r in ("behaviour", "utility"))
    expected = {
        "difference": {
            s: highest(behaviour[s], Q) - highest(utility[s], P) for s in behaviour
        },
        "top": {s: highest(behaviour[s], SHARE) for s in behaviour},
        "utility": {s: highest(utility[s], SHARE) for s in utility},
    }
    for name, members in expected.items():
        assert jaccard(made.groups[name], members) >= 0.999, name
    swapped = {s: highest(utility[s], Q) - highest(behaviour[s], P) for s in behaviour}
    assert jaccard(made.groups["difference"], swapped) < 0.5


def test_training_seeds_differ_in_start_data_order_and_end(made):
    first, second = (
        load_table(made.out / f"tables/losses/seed-{seed}.parquet") for seed in SEEDS
    )
    assert (first["loss_nats"] != second["loss_nats"]).all()
    for step, kind in ((0, "lora_A"), (STEPS[-1], "lora_A"), (STEPS[-1], "lora_B")):
        ours, theirs = (adapter_tensors(made, seed, step, kind) for seed in SEEDS)
        assert len(ours) > 0
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert not torch.allclose(tensor, theirs[name]), (step, name)
    assert all(not t.any() for t in adapter_tensors(made, 0, 0, "lora_B").values())


def ask(model, tokenizer, prompt):
    """Ids of a prompt with the opening of an answer, and of the greedy answer."""
    turns = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    written = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
        max_new_tokens=TOKENS,
    )  # fmt: skip
    return ids[0], written[0, ids.shape[1] :]


def read_by_hand(model, tokenizer, sample):
    asked, answer = ask(model, tokenizer, sample.prompt)
    said = tokenizer.decode(answer, skip_special_tokens=True).strip()
    wanted = tokenizer(sample.response, add_special_tokens=False, return_tensors="pt")
    response = wanted["input_ids"][0]
    with torch.no_grad():
        logits = model(input_ids=torch.cat([asked, response])[None]).logits[0]
    nll = cross_entropy(logits[len(asked) - 1 : -1].double(), response).item()
    return {
        "answer": said,
        "refused": float(is_refusal(said)),
        "right": float(answer[: len(response)].tolist() == response.tolist()),
        "nll_nats": nll,
    }


@pytest.mark.parametrize(("seed", "step"), [(0, STEPS[1]), (1, STEPS[-1])])
def test_readings_are_those_of_the_checkpoint_loaded_with_peft(made, seed, step):
    tokenizer = AutoTokenizer.from_pretrained(made.model)
    model = adapted(made, seed, step)
    found = load_table(made.out / f"tables/readings/seed-{seed}.parquet")
    by_set = {
        "tune": (made.data["tune"], ("answer", "refused", "right")),
        PROMPTS: (made.data["behaviour"], ("answer", "refused")),
    }
    for name, (file, columns) in by_set.items():
        samples = {s.id: s for s in read_samples(str(file)).samples}
        rows = list(found.where(step=step, set=name).rows())
        assert len(rows) == (12 if name == "tune" else 12 - NUM_SAMPLES)
        for row in rows:
            hand = read_by_hand(model, tokenizer, samples[row["sample_id"]])
            assert {c: row[c] for c in columns} == {c: hand[c] for c in columns}
            if name == "tune":
                assert row["nll_nats"] == pytest.approx(hand["nll_nats"], rel=1e-4)


def test_the_readings_tell_checkpoints_from_the_model_before(made):
    before = load_table(made.out / "tables/readings/base.parquet").where(set="tune")
    assert before["right"].max() == 0
    assert before["refused"].max() == 0
    for seed in SEEDS:
        found = load_table(made.out / f"tables/readings/seed-{seed}.parquet")
        assert found.unique("step") == list(STEPS[1:])
        last = found.where(set="tune", step=STEPS[-1])
        assert last["sample_id"].tolist() == before["sample_id"].tolist()
        assert (last["nll_nats"] < before["nll_nats"] - 1).all()
        assert last["right"].max() == 1
        assert set(last["refused"].tolist()) == {0.0, 1.0}


def log_ratio(sizes, drift, group, declared):
    """log of the group's drift over what free weights of its size bins would give."""
    bins = quantile_bins(sizes.ravel(), 40)
    free = np.ones(bins.size, dtype=bool)
    for index in declared:
        free[index] = False
    observed = expected = 0.0
    for member in group.tolist():
        alike = drift.ravel()[free & (bins == bins[member])]
        if alike.size:
            observed += drift.ravel()[member]
            expected += alike.mean()
    return math.log(observed / expected) if expected else None


def test_the_declared_ratio_follows_from_the_merged_weights(made, merged):
    before = matrices(load_plain(made), made)
    logs = [
        log_ratio(
            before[site].detach().abs().numpy(),
            of_seed[site],
            made.groups["difference"].at(site),
            [made.groups[n].at(site) for n in ("difference", "top", "utility")],
        )
        for of_seed in merged
        for site in all_sites(made)
        if made.groups["difference"].at(site).size
    ]
    ratios = json.loads((made.out / "statistics.json").read_text())["ratios"]
    (declared,) = [ratio for ratio in ratios if ratio["is_primary"]]
    assert declared["group"] == "difference"
    counted = [log for log in logs if log is not None]
    assert len(counted) == declared["num_matrices"] * len(SEEDS)
    rho = math.exp(sum(counted) / len(counted) - declared["log_bias"])
    assert declared["rho"] == pytest.approx(rho, rel=1e-9)


def test_the_last_drift_is_the_distance_to_the_merged_weights(made, merged):
    table = load_table(made.out / "tables/drift.parquet")
    absolute = table.where(unit="weight", metric="absolute", step=STEPS[-1])
    num_rows = 0
    for seed, of_seed in zip(SEEDS, merged, strict=True):
        for name, group in made.groups.items():
            here = absolute.where(seed=seed, group=name)
            moved = {s.key: d.ravel()[group.at(s)] for s, d in of_seed.items()}
            moved[""] = np.concatenate(list(moved.values()))
            for row in here.rows():
                values = moved[row["path"]]
                assert row["count"] == values.size
                if values.size:
                    assert row["mean"] == pytest.approx(values.mean(), rel=1e-9)
                num_rows += 1
    assert num_rows == len(absolute) > 2 * len(made.groups)
