"""Facts of every published shape, and files that have none."""

import json
from pathlib import Path

import pytest

from driftmap.core.errors import DataError, UsageError
from driftmap.core.progress import listening
from driftmap.load.columns import parse_columns
from driftmap.load.fact_shapes import SHAPES
from driftmap.load.facts import in_every_wording, read_facts
from driftmap.load.statements import read_statements
from driftmap.results.facts import Fact
from listeners import Ear

SHARED = Path(__file__).parents[4] / "shared" / "data"
PUBLISHED = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the published files are not here (../shared/data)"
)

KNOWN = {
    "known_id": 7, "subject": "Vinson Massif", "attribute": "Antarctica",
    "template": "{} is located in the continent", "prediction": " of Antarctica. It",
    "prompt": "Vinson Massif is located in the continent of", "relation_id": "P30",
}  # fmt: skip
COUNTERFACT = {
    "case_id": 0, "pararel_idx": 2,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is", "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Danielle Darrieux",
    },
    "paraphrase_prompts": ["Shayna does this. Danielle Darrieux, a native"],
    "neighborhood_prompts": ["Michel Rocard is a native speaker of"],
    "attribute_prompts": ["J.R.R. Tolkien speaks"],
    "generation_prompts": ["Danielle Darrieux was born in", ""],
}  # fmt: skip
TRACING = {
    "relation": "P103", "relation_prefix": "The mother tongue of",
    "relation_suffix": " is", "prompt": "The mother tongue of Danielle Darrieux is",
    "subject": "Danielle Darrieux", "target_true": " French",
    "target_false": " English",
}  # fmt: skip
EASY_EDIT = {
    "case_id": 3, "prompt": "The mother tongue of Danielle Darrieux is",
    "target_new": "English", "subject": "Danielle Darrieux", "ground_truth": "French",
    "rephrase_prompt": "Where Danielle Darrieux is from, people speak",
    "locality_prompt": "Michel Rocard is a native speaker of",
    "locality_ground_truth": "French",
}  # fmt: skip
ZSRE = {
    "subject": "Watts", "src": "What university did Watts attend?", "pred": "Trinity",
    "rephrase": "Where did Watts study?", "alt": "Michigan", "answers": ["Illinois"],
    "loc": "nq question: who sings", "loc_ans": "Jamal", "cond": "Trinity >> Illinois",
}  # fmt: skip


def written(folder, rows, name="facts.json"):
    path = folder / name
    text = json.dumps(rows)
    if name.endswith("l"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("row", "shape", "fact"),
    [
        (
            KNOWN,
            "known_1000",
            Fact(
                id="7",
                subject="Vinson Massif",
                prompt="Vinson Massif is located in the continent of",
                relation="P30",
                answer="Antarctica",
            ),
        ),
        (
            COUNTERFACT,
            "CounterFact",
            Fact(
                id="0",
                subject="Danielle Darrieux",
                prompt="The mother tongue of Danielle Darrieux is",
                relation="P103",
                answer="French",
                foil="English",
                paraphrases=("Shayna does this. Danielle Darrieux, a native",),
                neighbours=("Michel Rocard is a native speaker of",),
                attributes=("J.R.R. Tolkien speaks",),
                generation_prompts=("Danielle Darrieux was born in",),
            ),
        ),
        (
            TRACING,
            "CounterFact for tracing",
            Fact(
                id="facts:0",
                subject="Danielle Darrieux",
                prompt="The mother tongue of Danielle Darrieux is",
                relation="P103",
                answer="French",
                foil="English",
            ),
        ),
        (
            EASY_EDIT,
            "EasyEdit",
            Fact(
                id="3",
                subject="Danielle Darrieux",
                prompt="The mother tongue of Danielle Darrieux is",
                answer="French",
                foil="English",
                paraphrases=("Where Danielle Darrieux is from, people speak",),
                neighbours=("Michel Rocard is a native speaker of",),
            ),
        ),
        (
            ZSRE,
            "zsRE",
            Fact(
                id="facts:0",
                subject="Watts",
                prompt="What university did Watts attend?",
                answer="Illinois",
                foil="Michigan",
                paraphrases=("Where did Watts study?",),
            ),
        ),
        (
            {"subject": "Ana", "prompt": "{} lives in", "direction": "reversed"},
            "facts",
            Fact(
                id="facts:0",
                subject="Ana",
                prompt="Ana lives in",
                direction="reversed",
            ),
        ),
    ],
)
@pytest.mark.parametrize("name", ["facts.json", "facts.jsonl"])
def test_each_shape_says_its_fact(row, shape, fact, name, tmp_path):
    read = read_facts(written(tmp_path, [row], name))

    assert (read.shape, read.facts) == (shape, (fact,))


def test_what_a_neighbour_answers_otherwise_is_no_neighbour(tmp_path):
    row = EASY_EDIT | {"locality_ground_truth": "Dutch"}

    assert read_facts(written(tmp_path, [row])).facts[0].neighbours == ()


def pararel(folder):
    patterns, pairs = "pattern_data/graphs_json", "trex_lms_vocab"
    for name in (patterns, pairs):
        (folder / "data" / name).mkdir(parents=True)
    said = [
        "[X] works in [Y].",
        "[Y] is the field of [X].",
        "The trade of [X] is [Y] .",
    ]
    rows = [{"pattern": text, "lemma": "l", "tense": "present"} for text in said]
    written(folder / "data" / patterns, rows, "P101.jsonl")
    facts = [{"sub_label": "Alan Turing", "obj_label": "logic", "uuid": "u"}]
    written(folder / "data" / pairs, facts, "P101.jsonl")
    return folder


@pytest.mark.parametrize("below", ["", "data"])
def test_pararel_is_read_where_the_answer_ends_the_sentence(below, tmp_path):
    ear = Ear()
    with listening(ear):
        read = read_facts(str(pararel(tmp_path) / below))

    assert read.shape == "ParaRel"
    assert read.facts == (
        Fact(
            id="P101:0",
            subject="Alan Turing",
            prompt="Alan Turing works in",
            relation="P101",
            answer="logic",
            paraphrases=("The trade of Alan Turing is",),
        ),
    )
    assert "2 of 3 wordings end in the answer" in ear.heard[0]


def test_wordings_are_asked_for_one_by_one_and_stay_one_fact(tmp_path):
    (fact,) = read_facts(str(pararel(tmp_path))).facts
    first, second = in_every_wording([fact])

    assert (first.prompt, second.prompt) == (fact.prompt, fact.paraphrases[0])
    assert (first.id, second.id, second.said) == ("P101:0", "P101:0/1", "P101:0")


def test_own_columns_are_read_by_the_names_they_are_told_to_be(tmp_path):
    rows = [{"who": "Ana", "text": "Ana lives in", "city": "Rome", "answer": "no"}]
    columns = parse_columns("subject=who,prompt=text,answer=city", SHAPES)

    (fact,) = read_facts(written(tmp_path, rows), columns).facts

    assert (fact.subject, fact.prompt, fact.answer) == ("Ana", "Ana lives in", "Rome")
    with pytest.raises(UsageError, match="'question' is read by no shape"):
        parse_columns("question=text", SHAPES)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"subject": "a", "text": "b"}, "facts lacks `prompt`; write"),
        ({"prompt": "X is"}, "facts lacks `subject`"),
        ({**KNOWN, "attribute": None}, "facts:0: `attribute` is missing"),
        (
            {**COUNTERFACT, "requested_rewrite": {"prompt": "{} is", "subject": "a"}},
            "facts:0: `requested_rewrite.target_true` is missing",
        ),
        ({**COUNTERFACT, "requested_rewrite": "a"}, "`requested_rewrite` is no object"),
        ({**COUNTERFACT, "paraphrase_prompts": 3}, "`paraphrase_prompts` is no list"),
        ({**ZSRE, "answers": []}, "facts:0: `answers` is empty"),
        (
            {"subject": "a", "prompt": "a is", "direction": "back"},
            "`direction` is 'back'; write `forward` or `reversed`",
        ),
    ],
)
def test_a_wrong_shape_is_named_by_its_key(row, said, tmp_path):
    with pytest.raises(DataError) as raised:
        read_facts(written(tmp_path, [row]))
    assert said in str(raised.value)


def test_one_id_for_two_facts_is_refused(tmp_path):
    with pytest.raises(DataError, match="2 facts have the id '7'"):
        read_facts(written(tmp_path, [KNOWN, KNOWN]))


@PUBLISHED
@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("known_1000/known_1000.json", "known_1000", 1209),
        ("counterfact_easyedit/counterfact-val.json", "EasyEdit", 1919),
        (
            "counterfact_easyedit/counterfact_first_100_rome_shape.json",
            "CounterFact",
            100,
        ),
    ],
)
def test_published_files_load_as_they_are(name, shape, count):
    read = read_facts(str(SHARED / name))

    assert (read.shape, len(read.facts)) == (shape, count)
    assert all(one.prompt.count(one.subject) == 1 for one in read.facts)


@PUBLISHED
def test_relations_of_pararel_load_as_they_are(tmp_path):
    for name in ("pattern_data/graphs_json", "trex_lms_vocab"):
        (tmp_path / name).mkdir(parents=True)
        for relation in ("P1001", "P1376"):
            path = Path(name) / f"{relation}.jsonl"
            (tmp_path / path).symlink_to(SHARED / "pararel" / "data" / path)

    read = read_facts(str(tmp_path))

    assert {one.relation for one in read.facts} == {"P1001", "P1376"}
    assert all(one.subject in one.prompt for one in read.facts)


@pytest.mark.parametrize(
    ("label", "is_true"), [("1", True), ("0", False), ("True", True), ("1.0", True)]
)
def test_statements_are_true_or_false(label, is_true, tmp_path):
    path = tmp_path / "told.csv"
    path.write_text(f'statement,label\n"Oslo, a town, is in Norway.",{label}\n')

    (statement,) = read_statements(str(path)).statements

    assert (statement.text, statement.is_true) == (
        "Oslo, a town, is in Norway.",
        is_true,
    )
    assert statement.id == "told:0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("statement,label\na,maybe\n", "`label` is 'maybe'; write 1 for true"),
        ("text,label\na,1\n", "lack `statement`; write `statement,label`"),
        ('statement,label\n" ",1\n', "`statement` is empty"),
    ],
)
def test_other_files_of_statements_are_refused(text, said, tmp_path):
    path = tmp_path / "told.csv"
    path.write_text(text)
    with pytest.raises(DataError) as raised:
        read_statements(str(path))
    assert said in str(raised.value)
