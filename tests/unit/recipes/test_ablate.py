"""Does `driftmap ablate` do what it says, from words to report?"""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from driftmap.cli.main import main
from driftmap.families.discover import find_layout
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.ablation_options import AblationOptions
from driftmap.recipes.steps import pages
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.groups import load_group, save_group
from driftmap.store.tables import load_table
from tiny_studies import save_tiny_data, save_tiny_model, write_rows


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take longer than all the rest; the run of `zeroed` has them."""
    monkeypatch.setattr(pages, "save_pictures", lambda figures, folder: None)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A model, data, and a group of every seventh weight of it."""
    home = tmp_path_factory.mktemp("ablate")
    model = save_tiny_model(home / "model")
    data = save_tiny_data(home)
    loaded = load_model(ModelSource(model=str(model), device="cpu"))
    save_group(home / "mine.safetensors", every_seventh(loaded))
    return model, data, home


def every_seventh(loaded):
    return WeightGroup(
        name="mine",
        members={s: np.arange(0, s.num_weights, 7) for s in loaded.layout.sites},
        origin=GroupOrigin(
            model_sha256=loaded.identity.sha256,
            base_sha256=loaded.identity.base_sha256,
            rule="top",
            shares={"share": 0.14},
        ),
    )


def words(home, out, **changes):
    model, data, folder = home
    options = {
        "model": model,
        "device": "cpu",
        "group": folder / "mine.safetensors",
        "refusal-prompts": data["behaviour"],
        "held-out": data["utility"],
        "num-eval-samples": 4,
        "max-new-tokens": 3,
        "controls": 2,
        "doses": 1.0,
        "out": out,
    }
    options |= {name.replace("_", "-"): value for name, value in changes.items()}
    return [
        "ablate",
        *(f"--{name}={value}" for name, value in options.items() if value is not None),
    ]


@pytest.fixture(scope="module")
def zeroed(home, tmp_path_factory):
    """A run that zeroed the group, and saved the model."""
    folder = tmp_path_factory.mktemp("zeroed")
    assert main(words(home, folder / "run", save=folder / "saved")) == 0
    return folder


def zeroed_by_hand(model, group):
    """A fresh copy of the model whose entries of a group are set to 0 one by one."""
    copy = AutoModelForCausalLM.from_pretrained(model).eval()
    with torch.no_grad():
        for site, index in group.members.items():
            weight = copy.get_submodule(site.path).weight
            for row, column in zip(*np.divmod(index, site.num_columns), strict=True):
                weight[row, column] = 0.0
    return copy


def nll(model, tokenizer, prompt, response):
    """Mean negative log-likelihood of a response, by the model alone."""
    said = [{"role": "user", "content": prompt}]
    start = tokenizer.apply_chat_template(
        said, add_generation_prompt=True, tokenize=False
    )
    whole = tokenizer.apply_chat_template(
        [*said, {"role": "assistant", "content": response}], tokenize=False
    )
    text = whole[: whole.index(response, len(start)) + len(response)]
    first = len(tokenizer(start, add_special_tokens=False).input_ids)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False).input_ids])
    with torch.no_grad():
        log_p = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return -log_p.gather(1, ids[0, 1:, None])[first - 1 :].mean().item()


def assert_read(by_hand, home, run, name):
    """What a run read of an arm at full dose is what a model by hand does."""
    model, data, _ = home
    rows = [json.loads(line) for line in data["utility"].read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(model)
    table = load_table(run / f"tables/readings/{name}.parquet").where(set="utility")
    table = table.where(dose=float(table["dose"].max()))
    assert len(table) == 4
    for row in table.rows():
        asked = rows[int(str(row["sample_id"]).rpartition(":")[2])]
        expected = nll(by_hand, tokenizer, asked["prompt"], asked["response"])
        assert row["nll_nats"] == pytest.approx(expected, rel=1e-4)


def test_what_is_read_is_what_the_model_without_the_weights_does(home, zeroed):
    model, _, folder = home
    group = load_group(folder / "mine.safetensors")
    intact = AutoModelForCausalLM.from_pretrained(model).eval()
    assert_read(intact, home, zeroed / "run", "intact")
    assert_read(zeroed_by_hand(model, group), home, zeroed / "run", "arm-0")


def test_every_arm_is_read_on_the_same_samples(zeroed):
    folder = zeroed / "run/tables/readings"
    files = sorted(folder.glob("*.parquet"), key=lambda file: file.stem)
    assert [file.stem for file in files] == [
        "arm-0", "arm-0-control-0", "arm-0-control-1", "intact",
    ]  # fmt: skip
    asked = [load_table(file)["sample_id"].tolist() for file in files]
    assert asked.count(asked[0]) == 4
    first = load_table(files[1])
    assert not np.array_equal(first["nll_nats"], load_table(files[2])["nll_nats"])


def test_the_saved_model_is_the_one_without_the_weights(home, zeroed):
    model, _, folder = home
    saved = AutoModelForCausalLM.from_pretrained(zeroed / "saved")
    by_hand = zeroed_by_hand(model, load_group(folder / "mine.safetensors"))
    found, expected = saved.state_dict(), by_hand.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    AutoTokenizer.from_pretrained(zeroed / "saved")
    note = json.loads((zeroed / "saved/driftmap.json").read_text())
    assert note["change"]["by"] == "zero"
    assert note["change"]["dose"] == 1.0
    assert note["change"]["of"]["name"] == "mine"
    assert len(note["change"]["base_sha256"]) == 64
    assert list(note["change"]["depends_on"]["groups"]) == ["mine.safetensors"]


def test_a_repeated_command_does_nothing_again(home, zeroed, capsys):
    before = {
        file: file.stat().st_mtime_ns for file in (zeroed / "run").rglob("*.parquet")
    }
    assert main(words(home, zeroed / "run", save=zeroed / "saved")) == 0
    assert "step arm" not in capsys.readouterr().err
    for file, changed in before.items():
        assert file.stat().st_mtime_ns == changed


def test_only_the_arm_that_is_gone_is_read_again(home, zeroed, capsys):
    gone = zeroed / "run/tables/readings/arm-0-control-1.parquet"
    before = gone.read_bytes()
    gone.unlink()
    assert main(words(home, zeroed / "run")) == 0
    said = capsys.readouterr().err
    assert "step arm-0-control-1 ..." in said
    assert "step arm-0 ..." not in said
    assert gone.read_bytes() == before


def test_the_report_is_drawn_again_from_the_folder_alone(zeroed, capsys):
    page = (zeroed / "run/report.txt").read_text()
    (zeroed / "run/report.txt").unlink()
    assert main(["report", str(zeroed / "run")]) == 0
    assert (zeroed / "run/report.txt").read_text() == page
    assert "`mine` (668 weights, 14.5 %) of `model`, set to zero" in " ".join(
        page.split()
    )


def test_a_saved_recipe_does_the_same(home, zeroed, capsys):
    assert main(["run", str(zeroed / "run")]) == 0
    assert "step arm" not in capsys.readouterr().err


def test_a_folder_with_another_changed_model_is_refused(home, zeroed, tmp_path, capsys):
    changed = words(home, tmp_path / "run", by="scale", save=zeroed / "saved")
    assert main(changed) == 2
    said = capsys.readouterr().err
    assert "holds a model that was changed in another way; name another folder" in said


def test_a_folder_with_other_files_is_refused_before_any_work(home, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    assert main(words(home, tmp_path / "run", save=tmp_path / "full")) == 2
    assert "there are other files; name a folder that is new" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_adapted_model_is_saved_whole_without_its_adapter(home, tmp_path):
    model, _, folder = home
    base = AutoModelForCausalLM.from_pretrained(model)
    torch.manual_seed(1)
    config = LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    worn = get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in worn.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    worn.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    merged = worn.merge_and_unload()
    done = words(
        home, tmp_path / "run", adapter=tmp_path / "adapter", by="restore",
        save=tmp_path / "saved", controls=1,
    )  # fmt: skip
    assert main(done) == 0
    group = load_group(folder / "mine.safetensors")
    untuned = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        for site in find_layout(merged).sites:
            flat = merged.get_submodule(site.path).weight.view(-1)
            index = torch.from_numpy(group.at(site))
            flat[index] = untuned.get_submodule(site.path).weight.view(-1)[index]
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").state_dict()
    assert found.keys() == merged.state_dict().keys()
    for name, expected in merged.state_dict().items():
        torch.testing.assert_close(found[name], expected)
    assert_read(merged.eval(), home, tmp_path / "run", "arm-0")


def test_heads_of_most_of_the_group_go_without_a_ranking(home, tmp_path):
    _, data, _ = home
    done = words(
        home, tmp_path / "run", by="heads", group=None, behaviour=data["behaviour"],
        utility=data["utility"], num_samples=6, share=0.05, controls=1,
    )  # fmt: skip
    assert main(done) == 0
    page = " ".join((tmp_path / "run/report.txt").read_text().split())
    assert "`heads` (1 head, 12.5 %) of `model`, removed" in page
    assert "most of `difference` in them: " in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": None}, "--behaviour is missing: name samples, or give --group"),
        ({"by": "actsvd", "group": None}, "--behaviour is missing: name samples"),
        ({"by": "actsvd"}, "--by actsvd takes output directions, not a group"),
        ({"refusal_prompts": None}, "--refusal-prompts is missing: name requests"),
        ({"held_out": None}, "--held-out is missing: name samples to get right"),
        ({"by": "restore"}, "--by restore needs values to put back"),
        ({"restore_from": "m"}, "--restore-from gives values to put back, but --by z"),
        ({"heads": "ranks.json"}, "--heads ranks heads, but --by zero takes none"),
        ({"controls": 0}, "--controls is 0; give at least 1"),
        ({"num_heads": 0}, "--num-heads is 0; give at least 1"),
        ({"doses": 1.5}, "--doses is 1.5; give shares from 0 to 1"),
        ({"doses": 0}, "--doses holds no share above 0; give one, as 1"),
        ({"behaviour_directions": 0}, "--behaviour-directions is 0"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(
    home, tmp_path, changes, message, capsys
):
    assert main(words(home, tmp_path / "run", **changes)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_group_of_another_model_is_refused(home, tmp_path, capsys):
    other = save_tiny_model(tmp_path / "other", seed=5)
    assert main(words(home, tmp_path / "run", model=other)) == 1
    assert "was chosen on another model" in capsys.readouterr().err


def test_doses_are_sorted_and_0_is_measured_anyway():
    assert AblationOptions(doses=(1.0, 0.0, 0.5, 1.0)).shares == (0.5, 1.0)


def test_a_trial_asks_less(home, tmp_path):
    rows = [{"prompt": f"ask {n}", "response": "no"} for n in range(30)]
    many = write_rows(tmp_path / "many.jsonl", rows)
    done = words(home, tmp_path / "run", refusal_prompts=many, num_eval_samples=30)
    assert main([*done, "--quick"]) == 0
    table = load_table(tmp_path / "run/tables/readings/intact.parquet")
    assert len(table.where(set="requests to refuse")) == 16
