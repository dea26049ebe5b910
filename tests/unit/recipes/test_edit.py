"""Is a tiny model taught as asked, and does its run folder carry the report?"""

from copy import deepcopy
from dataclasses import replace

import pytest

from driftmap.core.errors import UsageError
from driftmap.load.attach import attach_adapter
from driftmap.load.source import ModelSource
from driftmap.recipes.attention_change_options import AttentionChangeOptions
from driftmap.recipes.edit import Edit
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.recipes.edit_options import (
    AnswerOptions,
    EditTuningOptions,
    TaughtOptions,
)
from driftmap.recipes.report import Report
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.editing import training
from driftmap.recipes.steps.editing.concluding import FINDINGS, FINDINGS_KIND
from driftmap.render.edit_page import edit_page
from driftmap.render.text import text_of
from driftmap.results.edit_study import EditFindings, EditStudy
from driftmap.results.plain import from_plain
from driftmap.store.plain import load_json
from four_bit import needs_bitsandbytes
from tiny_studies import save_tiny_model, write_rows

FACTS = [
    {
        "id": name, "subject": name, "prompt": f"{name} six is",
        "answer": "blue", "foil": foil, "paraphrases": [f"What is {name} six? It is"],
        "neighbours": ["the sky is"], "generation_prompts": [f"{name} six"],
    }
    for name, foil in (("one", "two"), ("four", "five"))
]  # fmt: skip

QUICK = {
    "answers": AnswerOptions(show=1, max_new_tokens=3),
    "attention": AttentionChangeOptions(wordings="first", num_untouched=1),
    "edit_measures": EditMeasureOptions(
        num_unrelated=0, num_written=1, written_tokens=3, num_lensed=1
    ),
}


def recipe(model, folder, **tuning):
    tuning = {"max_steps": 2, "save_steps": 1, "learning_rate": 1e-2} | tuning
    facts = write_rows(folder / "facts.jsonl", FACTS)
    return Edit(
        source=ModelSource(model=str(model), device="cpu"),
        taught=TaughtOptions(facts=str(facts)),
        tuning=EditTuningOptions(**tuning),
        out=folder / "run",
        **QUICK,
    )


def findings(out):
    return from_plain(EditFindings, load_json(out / FINDINGS, FINDINGS_KIND))


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda figures, folder: None)
        yield


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    edit = recipe(
        model, tmp_path_factory.mktemp("edit"), tune=("lora", "full"), layers="1"
    )
    edit.run()
    return edit


def test_models_stand_side_by_side_with_what_was_trained_of_them(finished):
    lora, full = findings(finished.out).models
    assert (lora.name, full.name) == ("lora-layers-1", "full-layers-1")
    assert {t.layer for t in (*lora.tensors, *full.tensors)} == {1}
    assert {t.part for t in lora.tensors} == {"q", "v", "down"}
    # Of each matrix [out in]: 8 x (in + out), by hand for q, v and down.
    assert lora.cost.num_trained == 8 * ((16 + 16) + (16 + 8) + (32 + 16))
    assert lora.num_tensors == 3
    assert full.num_tensors == 9
    assert full.cost.num_trained < full.cost.num_total
    assert lora.cost.num_total == full.cost.num_total
    assert lora.cost.seconds > 0
    assert {point.model for point in findings(finished.out).points} == {
        "", "lora-layers-1", "full-layers-1",
    }  # fmt: skip


def test_moved_tensors_are_those_of_the_saved_adapter(finished, loaded):
    """By dense matrices, as peft merges them."""
    folder = finished.out / "checkpoints/lora-layers-1/step-000002"
    identity = loaded.identity
    wrapped = attach_adapter(
        deepcopy(loaded.model),
        folder,
        base_name=identity.source,
        base_sha256=identity.base_sha256,
    )
    tuned = wrapped.merge_and_unload()
    before, after = loaded.model.state_dict(), tuned.state_dict()
    told = {t.name: t.relative for t in findings(finished.out).models[0].tensors}
    for name, weight in before.items():
        moved = (after[name] - weight).norm() / weight.norm()
        expected = told.get(name.removesuffix(".weight"), 0.0)
        assert float(moved) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_the_report_is_drawn_again_from_the_folder_alone(finished):
    before = (finished.out / "report.txt").read_text()
    assert "Highest score" in before or "is not said" in before
    assert "What a layer list says" in before
    assert "Answers before and after" in before
    (finished.out / "report.txt").write_text("")
    Report(run_folder=finished.out).run()
    assert (finished.out / "report.txt").read_text() == before


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_adapter(
    finished, model, tmp_path, monkeypatch
):
    whole = replace(finished, out=tmp_path / "run")
    saved = training.save_checkpoint
    calls = []

    def dies(live, folder, work):
        saved(live, folder, work)
        calls.append(folder.name)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        whole.run()
    monkeypatch.undo()
    monkeypatch.setattr(pages, "save_pictures", lambda figures, folder: None)
    whole.run()
    name = "checkpoints/lora-layers-1/step-000002/adapter_model.safetensors"
    assert (whole.out / name).read_bytes() == (finished.out / name).read_bytes()


def test_a_change_that_changes_nothing_is_called_identical(model, tmp_path):
    # Zero would be refused; a step this small is lost in float32.
    edit = recipe(model, tmp_path, learning_rate=1e-30)
    edit.run()
    (only,) = findings(edit.out).models
    assert only.is_identical
    assert only.written == ()
    page = (edit.out / "report.txt").read_text()
    assert "Base and tuned model are identical" in page
    assert "Logits before and after" not in page
    assert not (edit.out / "edits.json").exists()


def test_a_set_of_blocks_that_is_not_there_is_refused(model, tmp_path):
    with pytest.raises(UsageError, match="the model has blocks 0 to 1"):
        recipe(model, tmp_path, layers="7").run()


@needs_bitsandbytes
@pytest.mark.slow
def test_qlora_is_compared_with_the_rounded_base(tmp_path):
    wide = save_tiny_model(tmp_path / "wide", hidden=64)
    edit = recipe(wide, tmp_path, tune=("lora", "qlora"))
    edit.run()
    found = findings(edit.out)
    lora, qlora = found.models
    assert lora.cost.num_trained == qlora.cost.num_trained
    assert lora.cost.num_total == qlora.cost.num_total
    before = {p.base: p.values["nll true"] for p in found.points if not p.model}
    assert before["model"] != before["rounded"]
    assert "It is compared with the rounded base" in " ".join(
        (edit.out / "report.txt").read_text().split()
    )


def test_the_preset_says_what_was_wrong_with_the_published_run(finished):
    study = EditStudy(
        settings={"preset": "counterfact100"},
        findings=findings(finished.out),
        edits=None,
        attention=None,
        versions={},
    )
    text = " ".join(text_of(edit_page(study)).split())
    assert "It passes `--use_peft`: it is LoRA" in text
    assert "the head was not touched" in text
    plain = text_of(edit_page(replace(study, settings={"preset": "none"})))
    assert "--use_peft" not in plain
