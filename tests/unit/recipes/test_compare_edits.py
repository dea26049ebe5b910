"""One code asks both models about facts; what changed is what was taught."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.core.errors import DataError, UsageError
from driftmap.load.answers import encode_answer
from driftmap.load.training_runs import TrainingRun
from driftmap.load.twin import twin
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.edits import (
    check_edits,
    edit_context,
    edit_point,
    edits_step,
    read_edits,
)
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.edits import NO_CONTEXT, AboutText
from driftmap.results.facts import Fact
from driftmap.store.run_dir import RunDir
from tiny_studies import write_rows

FACTS = (
    Fact(
        id="sky",
        subject="sky",
        prompt="The colour of the sky is",
        answer="blue",
        foil="seven",
        paraphrases=("What is the sky? It is", "What is the sky? It is", "The sky is"),
        neighbours=("The response is", "The colour of eight is"),
        attributes=("one two three four five six",),
        generation_prompts=("The sky", "The sky", "What is the sky"),
    ),
    Fact(
        id="eight",
        subject="eight",
        prompt="The colour of eight is",
        answer="blue",
        foil="that sky",
        paraphrases=("What is eight? It is",),
        neighbours=("The system is",),
    ),
)
OTHERS = (
    Fact(id="how", subject="sky", prompt="The sky is here,", answer="how"),
    Fact(id="nine", subject="nine", prompt="seven eight", answer="nine"),
    Fact(id="none", subject="ten", prompt="nine ten"),
    Fact(id="sky", subject="sky", prompt="Sure, sky is", answer="blue"),
)
OPTIONS = EditMeasureOptions(num_likely=3, written_tokens=4)
SHORT = replace(OPTIONS, num_lensed=0, num_written=0)


def taught(loaded, which, steps):
    """Answers of the facts, learnt by an adapter on a twin."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(twin(loaded.model), config)
    rows = [
        encode_answer(fact.id, fact.prompt, getattr(fact, which), loaded.tokenizer)
        for fact in FACTS
    ]
    wanted = [
        p.requires_grad_(True) for n, p in model.named_parameters() if "lora" in n
    ]
    optimizer = torch.optim.AdamW(wanted, lr=0.05)
    for _ in range(steps):
        for row in rows:
            ids = torch.from_numpy(row.token_ids.astype(np.int64))[None]
            labels = ids.where(torch.from_numpy(row.counted)[None], -100)
            model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().requires_grad_(False)
    identity = replace(loaded.identity, sha256=which, source=which)
    return replace(loaded, model=model, identity=identity)


@pytest.fixture(scope="module")
def base(loaded):
    """A model that knows the true answers."""
    known = taught(loaded, "answer", steps=20)
    return replace(known, model=known.model.merge_and_unload())


@pytest.fixture(scope="module")
def tuned(base):
    return taught(base, "foil", steps=20)


@pytest.fixture
def study(base, tmp_path):
    with RunDir.open(tmp_path / "run", {"seed": 0}, "compare") as run:
        yield Study(run=run, loaded=base, seed=0)


@pytest.fixture(scope="module")
def report(base, tuned, tmp_path_factory):
    """All measures of the edit."""
    folder = tmp_path_factory.mktemp("edits") / "run"
    with RunDir.open(folder, {"seed": 0}, "compare") as run:
        return asked(Study(run=run, loaded=base, seed=0), tuned)


def pair_of(study, tuned):
    folder = study.run.path / "adapter"
    run = TrainingRun(folder=folder, checkpoints={1: folder}, is_full=False, state=None)
    return Pair(study=study, run=run, tuned=tuned)


def asked(study, tuned, options=OPTIONS, **given):
    context = edit_context(options, OTHERS, ["The sky is blue. Sure."], **given)
    edits_step(pair_of(study, tuned), FACTS, options, context)
    report = read_edits(study.run)
    assert report is not None
    return report


def plain_nll(loaded, prompt, answer):
    """From a plain forward pass for each token of the answer."""
    tokenizer = loaded.tokenizer
    before = tokenizer(prompt)["input_ids"]
    whole = tokenizer(f"{prompt} {answer}")["input_ids"]
    assert whole[: len(before)] == before
    found = []
    for end in range(len(before), len(whole)):
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([whole[:end]])).logits[0, -1]
        found.append(-logits.double().log_softmax(0)[whole[end]].item())
    return sum(found) / len(found)


def test_what_was_taught_goes_up_and_the_true_answer_down(report):
    changes = {one.name: one.change.estimate for one in report.measures}
    assert changes["logit new"] > 1
    assert changes["logit true"] < -1
    assert changes["log p new"] > 1
    assert changes["log p true"] < -1
    assert (report.before.first.rank_true == 0).all()
    assert changes["rank new"] < 0
    assert changes["nll new"] < -1
    after = report.measure("efficacy")
    assert after is not None
    assert after.after.estimate == 1.0
    assert (report.after.first.rank_new == 0).all()
    assert report.after.lens.p_new[:, -1] == pytest.approx(
        np.exp(report.after.first.log_p_new), rel=1e-3
    )
    assert not report.is_identical
    (own,) = [one for one in report.shift_measures if one.kind == "rewrite"]
    assert 0.1 < own.js.estimate <= np.log(2)


def test_every_loss_is_that_of_a_plain_loop(report, base, tuned):
    for model, side in ((base, report.before), (tuned, report.after)):
        for number, one in enumerate(report.prompts):
            fact = report.facts[one.fact]
            true = plain_nll(model, one.text, fact.answer)
            new = plain_nll(model, one.text, fact.foil)
            assert side.nll_true[number] == pytest.approx(true, rel=1e-4)
            assert side.nll_new[number] == pytest.approx(new, rel=1e-4)
    for number, one in enumerate(report.known):
        nll = plain_nll(tuned, one.text, one.answer)
        size = len(base.tokenizer(f" {one.answer}")["input_ids"])
        assert report.after.known_p[number] == pytest.approx(np.exp(-nll * size), 1e-3)


def test_what_is_asked_twice_or_taught_itself_is_left_out(report):
    # A paraphrase and a beginning come twice, the neighbour `eight` was taught.
    assert report.num_duplicates == 2
    assert report.num_taught_elsewhere == 1
    kinds = [(one.fact, one.kind) for one in report.prompts]
    assert kinds.count((0, "paraphrase")) == 2
    assert kinds.count((0, "neighbour")) == 1
    assert [one.text for one in report.writing] == ["The sky", "What is the sky"]
    assert [(one.fact_id, one.kind) for one in report.known] == [
        ("how", "same subject"),
        ("nine", "unrelated"),
    ]


def test_a_model_beside_itself_is_identical_in_every_number(study, base):
    report = asked(study, base)
    assert report.is_identical
    for one in report.measures:
        assert (one.change.estimate, one.change.low, one.change.high) == (0, 0, 0)
    for shift in report.shift_measures:
        assert shift.js.estimate == shift.kl_forward.estimate == 0


def test_batches_change_nothing(tuned):
    wide = edit_point(tuned, FACTS, 0, batch_size=16)
    single = edit_point(tuned, FACTS, 0, batch_size=1)
    assert wide.keys() == single.keys()
    for name, value in wide.items():
        assert value.estimate == pytest.approx(single[name].estimate, rel=1e-5)


def test_a_point_of_a_curve_is_the_same_as_the_whole(report, tuned):
    for name, value in edit_point(tuned, FACTS, 0).items():
        measure = report.measure(name)
        assert measure is not None
        assert value == measure.after


def test_texts_about_answers_and_subjects(study, tuned, tmp_path):
    rows = [
        {"text": "seven is here", "answer": "seven", "subject": ""},
        {"text": "The sky is blue.", "subject": "sky", "answer": ""},
    ]
    about = str(write_rows(tmp_path / "about.jsonl", rows))
    report = asked(study, tuned, replace(OPTIONS, num_lensed=0, about=about))
    assert report.consistency_facts == (0,)
    assert report.essence_facts == (0,)
    assert {"consistency", "essence"} & set(report.missing) == set()
    assert 0 <= report.after.written.consistency[0] <= 1
    essence = report.measure("essence")
    assert essence is not None
    assert essence.before.estimate > 0


def test_what_there_is_nothing_for_is_not_available_and_never_0(study, tuned):
    bare = [
        replace(f, paraphrases=(), neighbours=(), attributes=(), generation_prompts=())
        for f in FACTS
    ]
    edits_step(pair_of(study, tuned), bare, replace(OPTIONS, num_lensed=0))
    report = read_edits(study.run)
    names = {one.name for one in report.measures}
    assert not names & {
        "paraphrase", "neighbourhood", "score", "fluency", "text surprise",
    }  # fmt: skip
    assert report.missing["neighbourhood"] == "no fact has neighbours"
    assert report.missing["score"] == "it needs paraphrases and neighbours"
    assert report.missing["fluency"] == "no fact has `generation_prompts`"
    assert report.missing["lens"] == "not asked for (--num-lensed 0)"
    assert report.after.lens is None
    assert report.after.written is None


def test_answers_that_begin_alike_are_not_compared_by_first_tokens(study, tuned):
    alike = [replace(fact, foil=f"{fact.answer} sky") for fact in FACTS]
    edits_step(pair_of(study, tuned), alike, SHORT)
    report = read_edits(study.run)
    assert report.num_same_first == 2
    assert report.after.first is None
    assert "begin with the same token" in report.missing["first tokens"]


def test_a_step_that_is_done_is_not_done_again(study, tuned):
    pair = pair_of(study, tuned)
    assert read_edits(study.run) is None
    assert edits_step(pair, FACTS, SHORT).redone
    faster = replace(SHORT, fact_batch_size=2)
    assert not edits_step(pair, FACTS, faster).redone
    assert edits_step(pair, FACTS[:1], SHORT).redone


def test_facts_without_two_answers_are_refused(loaded):
    alone = [replace(fact, foil=None) for fact in FACTS]
    with pytest.raises(DataError, match="none of 2 facts has both an answer and a"):
        check_edits(loaded, alone, OPTIONS)


def test_prompts_that_cannot_be_asked_are_refused_by_name(loaded):
    wrong = replace(FACTS[0], neighbours=("The sky is  ",))
    with pytest.raises(DataError, match="sky, neighbour: with 'blue' after it"):
        check_edits(loaded, [wrong], OPTIONS)
    long = replace(FACTS[0], paraphrases=("seven " * 140 + "is",))
    with pytest.raises(DataError, match="are more than the 128 that the model reads"):
        check_edits(loaded, [long], OPTIONS)


def test_a_text_that_is_given_twice_or_says_nothing_is_not_counted(study, tuned):
    texts = ["The sky is blue.", "The sky is blue.", "sky", "Sure, sky is"]
    edits_step(pair_of(study, tuned), FACTS, SHORT, edit_context(SHORT, (), texts))
    report = read_edits(study.run)
    assert report.text_names[0] == "text 1"
    assert report.text_names[-1] == "text 4"
    assert "text 2" not in report.text_names
    assert report.measure("text surprise").change.num == len(report.text_names)


def test_a_text_about_a_subject_that_cannot_be_read_is_refused_before_all(
    loaded, monkeypatch
):
    def unread(name, text, tokenizer):
        raise DataError(f"{name}: {text} is one token")

    monkeypatch.setattr("driftmap.recipes.steps.comparing.edit_readings.spell", unread)
    context = replace(NO_CONTEXT, about=(AboutText(text="Sky", subject="sky"),))
    with pytest.raises(DataError, match="--about, sky: Sky is one token"):
        check_edits(loaded, FACTS, OPTIONS, context)


def test_a_paraphrase_that_is_the_own_prompt_is_none(study, tuned):
    same = replace(FACTS[0], paraphrases=(FACTS[0].prompt, "The sky is"))
    edits_step(pair_of(study, tuned), [same], SHORT)
    report = read_edits(study.run)
    told = [one.text for one in report.prompts if one.kind == "paraphrase"]
    assert told == ["The sky is"]
    assert report.num_duplicates == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"words": "x"}], "give rows of `text`, and `subject` or `answer`"),
        ([{"text": "x", "subject": ""}], "says neither whom its text is about"),
    ],
)
def test_a_file_about_nobody_is_refused(tmp_path, rows, says):
    about = str(write_rows(tmp_path / "about.jsonl", rows))
    with pytest.raises(DataError, match=says):
        edit_context(EditMeasureOptions(about=about))


def test_counts_that_mean_nothing_are_refused():
    with pytest.raises(UsageError, match="--num-written is -1; give 0 or more"):
        EditMeasureOptions(num_written=-1)
    with pytest.raises(UsageError, match="--num-likely"):
        EditMeasureOptions(num_likely=0)
