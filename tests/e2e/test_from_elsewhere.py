"""Does a study of groups and adapters from elsewhere say what one of its own says?"""

import json
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
)

from driftmap.cli.main import main
from driftmap.store.groups import load_group
from driftmap.store.interop import export_json_group
from driftmap.store.tables import load_table
from tiny_studies import save_tiny_data, save_tiny_model, study_words

pytestmark = pytest.mark.slow

NAMES = ("difference", "top", "utility", "random")


class Place:
    """A folder with a model, data, and a study that made all by itself."""

    def __init__(self, folder):
        self.folder = folder
        self.model = save_tiny_model(folder / "model")
        self.data = save_tiny_data(folder)
        self.own = folder / "own"
        assert main(study_words(self.model, self.data, self.own)) == 0

    def words(self, name, *more):
        """A study without scoring and tuning; its options for both mean nothing."""
        left_out = ("--tune-on", "--share", "--seeds", "--max-steps", "--batch-size",
                    "--grad-accum", "--save-steps", "--drift-every", "--learning-rate",
                    "--num-samples")  # fmt: skip
        words = study_words(self.model, self.data, self.folder / name)
        kept = [w for w in words if w.partition("=")[0] not in left_out]
        return [*kept, "--num-samples=6", *more]

    def run(self, name, *more):
        assert main(self.words(name, *more)) == 0
        return self.folder / name

    def checkpoints(self):
        return [f"--checkpoints={self.own}/checkpoints/seed-{n}" for n in range(2)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    torch.set_num_threads(1)
    return Place(tmp_path_factory.mktemp("elsewhere"))


def drift_at(folder, steps):
    table = load_table(folder / "tables/drift.parquet")
    kept = np.isin(table["step"], steps)
    return {name: column[kept] for name, column in table.columns.items()}


def assert_same_drift(found, own, steps):
    ours, theirs = drift_at(found, steps), drift_at(own, steps)
    assert ours.keys() == theirs.keys()
    for name, column in theirs.items():
        np.testing.assert_array_equal(ours[name], column, err_msg=name)


def statistics(folder):
    return json.loads((folder / "statistics.json").read_text())


@pytest.fixture(scope="module")
def again(place):
    return place.run("again", f"--groups={place.own}", *place.checkpoints())


def test_the_groups_and_checkpoints_of_a_run_give_its_numbers(place, again):
    assert load_table(again / "tables/drift.parquet").unique("step") == [0, 2, 4]
    assert_same_drift(again, place.own, (0, 2, 4))
    own, found = statistics(place.own), statistics(again)
    for name in ("ratios", "effects", "equivalences", "verdict", "behaviours"):
        assert found[name] == own[name], name
    for number in range(2):
        name = f"tables/readings/seed-{number}.parquet"
        assert (again / name).read_bytes() == (place.own / name).read_bytes()


def test_the_report_says_what_was_made_elsewhere(again):
    text = " ".join((again / "report.txt").read_text().split())
    assert "with the adapters of 2 training runs made elsewhere" in text
    assert "No weight was scored here." in text
    assert "`difference` from difference.safetensors" in text
    assert "One test was declared before drift was read" in text
    assert "it was chosen elsewhere, and no ceiling was measured" in text
    assert "declared before training" not in text
    assert "Training loss by seed" not in text


def test_groups_survive_the_journey_through_json(place):
    folder = place.folder / "published"
    published = {"difference": "safety_set_diff", "top": "safety_snip_top"}
    for name in NAMES:
        group = load_group(place.own / f"groups/{name}.safetensors")
        export_json_group(folder / f"{published.get(name, name)}.json", group)
    found = place.run("by-json", f"--groups={folder}", *place.checkpoints())
    assert_same_drift(found, place.own, (0, 2, 4))
    assert statistics(found)["ratios"] == statistics(place.own)["ratios"]
    text = " ".join((found / "report.txt").read_text().split())
    assert "`top` from safety_snip_top.json" in text
    assert "Nothing in a JSON group proves on which model it was chosen" in text


@contextmanager
def warnings_of_others():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def train_with_the_trainer(place, folder, seed):
    tokenizer = AutoTokenizer.from_pretrained(place.model)
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(place.model)
    parts = ["q_proj", "v_proj", "down_proj"]
    config = LoraConfig(r=2, target_modules=parts, task_type="CAUSAL_LM")
    rows = map(json.loads, place.data["tune"].read_text().splitlines())
    texts = [f"{row['prompt']} {row['response']}" for row in rows]
    whole = tokenizer(texts, padding="max_length", max_length=40, truncation=True)
    learnt = [{"input_ids": ids, "labels": ids} for ids in whole["input_ids"]]
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=4, save_steps=2, logging_steps=1,
        learning_rate=0.02, seed=seed, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    with warnings_of_others():
        model = get_peft_model(base, config)
        Trainer(model=model, args=arguments, train_dataset=learnt).train()


def test_one_circuit_and_what_the_trainer_saved(place, capsys):
    group = load_group(place.own / "groups/difference.safetensors")
    circuit = place.folder / "my_circuit.json"
    export_json_group(circuit, group)
    runs = [place.folder / f"trained-{seed}" for seed in range(3)]
    for seed, folder in enumerate(runs):
        train_with_the_trainer(place, folder, seed)
    found = place.run(
        "circuit", f"--groups={circuit}", *(f"--checkpoints={run}" for run in runs)
    )
    drift = load_table(found / "tables/drift.parquet")
    assert drift.unique("group") == ["my_circuit", "matched", "random"]
    assert drift.unique("step") == [0, 2, 4]
    assert statistics(found)["verdict"]["group"] == "my_circuit"
    assert statistics(found)["num_seeds"] == 3
    text = " ".join((found / "report.txt").read_text().split())
    assert "were read from my_circuit.json" in text
    assert "Ratio of drift, `my_circuit` to its control" in text
    assert "seed 2: 1 -> " in text
    for absent in ("`difference`", "`top`", "SNIP"):
        assert absent not in text
    assert "proves on which model it was chosen" in capsys.readouterr().err


def test_one_final_adapter_gives_effect_sizes_and_no_verdict(place):
    adapter = place.own / "checkpoints/seed-0/step-000004"
    found = place.run("single", f"--groups={place.own}", f"--checkpoints={adapter}")
    assert load_table(found / "tables/drift.parquet").unique("step") == [0, 4]
    assert statistics(found)["verdict"]["kind"] == "inconclusive"
    assert "1 of at least 3 training seeds" in (found / "report.txt").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--checkpoints={own}/checkpoints"], "holds 2 training runs (seed-0, seed-1)"),
        (["--checkpoints={folder}/none"], "there is no such folder"),
        (
            ["--checkpoints={own}/checkpoints/seed-0", "--groups={folder}/none"],
            "there is no such file or folder; check --groups",
        ),
        (
            ["--checkpoints={own}/checkpoints/seed-0", "--groups={folder}/tune.jsonl"],
            "is neither .safetensors nor .json",
        ),
    ],
)
def test_mistakes_end_in_one_sentence_and_leave_nothing(place, words, said, capsys):
    given = [w.format(own=place.own, folder=place.folder) for w in words]
    assert main(place.words("mistaken", *given)) == 1
    errors = [
        line for line in capsys.readouterr().err.splitlines() if "error: " in line
    ]
    assert len(errors) == 1
    assert said in errors[0]
    assert not (place.folder / "mistaken").exists()
