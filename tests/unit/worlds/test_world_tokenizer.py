import numpy as np
import pytest
from transformers import AutoTokenizer

from driftmap.worlds.corpus import ROWS_PER_STEP, corpus_lines
from driftmap.worlds.names import make_names
from driftmap.worlds.splits import make_splits
from driftmap.worlds.tokenizer import encode_lines, make_tokenizer, save_tokenizer
from driftmap.worlds.words import all_words
from driftmap.worlds.world import make_world

SPECIALS = {"<pad>", "<s>", "</s>", "<user>", "<assistant>"}
SENTENCE = "Unlike Dukavo, the house of Raneti stands in Rome."


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(all_words())


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(tokenizer, folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=(0, 1))
def texts(request, tokenizer):
    world = make_world(request.param)
    kinds = sorted({kind for stage in ROWS_PER_STEP.values() for kind in stage})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmap.worlds.corpus.FACT_REPEATS", 2)
        patch.setattr("driftmap.worlds.corpus.NUM_REQUEST_LINES", 1024)
        lines = [line.text for kind in kinds for line in corpus_lines(world, kind)]
    for samples in make_splits(world, tokenizer).values():
        lines += [f"<s> {m.content}" for s in samples for m in s.messages]
    return lines


def test_every_word_of_every_line_is_one_piece_and_names_are_three(tokenizer, texts):
    words = {" " + word for word in all_words()}
    names = {name for seed in (0, 1) for name in make_names(seed)}
    syllables = {name[:2] for name in names} | {
        n[k : k + 2] for n in names for k in (2, 4)
    }
    allowed = SPECIALS | {".", ",", "?", ":"}
    seen = set()
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        seen.update(encoding.tokens)
    pieces = {piece.replace("Ġ", " ") for piece in seen}
    assert pieces - words - allowed <= syllables | {f" {s}" for s in syllables}


def test_lines_survive_the_way_to_ids_and_back(tokenizer, texts):
    for text in texts[::97]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_running_text_has_a_begin_mark_and_exact_offsets(saved):
    tokens = saved(SENTENCE, return_offsets_mapping=True)
    assert tokens["input_ids"][0] == saved.bos_token_id
    pieces = [SENTENCE[a:b] for a, b in tokens["offset_mapping"]][1:]
    assert pieces == [
        "Unlike", "Du", "ka", "vo", ",", "the", "house", "of",
        "Ra", "ne", "ti", "stands", "in", "Rome", ".",
    ]  # fmt: skip
    assert saved.decode(tokens["input_ids"], skip_special_tokens=True) == SENTENCE


@pytest.mark.parametrize(
    "text", ["a xylophone costs 3 €", "Łódź", " two  spaces", "x\n"]
)
def test_unknown_words_fall_into_bytes_and_come_back(saved, text):
    ids = saved(text, add_special_tokens=False)["input_ids"]
    assert saved.decode(ids).strip() == text.strip()


def test_the_saved_folder_is_an_ordinary_fast_tokenizer(saved, tokenizer):
    assert saved.is_fast
    marks = (saved.bos_token, saved.eos_token, saved.pad_token)
    assert marks == ("<s>", "</s>", "<pad>")
    assert saved.get_vocab() == tokenizer.get_vocab()
    for special in SPECIALS:
        assert len(saved(special, add_special_tokens=False)["input_ids"]) == 1


def test_the_chat_template_writes_what_the_corpus_holds(saved):
    world = make_world(0)
    for line in corpus_lines(world, "question")[:5]:
        asked, _, said = line.text.partition("<assistant> ")
        turns = [
            {"role": "user", "content": asked.removeprefix("<s><user> ")},
            {"role": "assistant", "content": said.removesuffix("</s>")},
        ]
        assert saved.apply_chat_template(turns, tokenize=False) == line.text
        opening = saved.apply_chat_template(
            turns[:1], tokenize=False, add_generation_prompt=True
        )
        assert opening == f"{asked}<assistant>"


def test_the_chat_template_marks_the_answer_and_its_end(saved):
    turns = [
        {"role": "user", "content": "What does Dukavo talk in?"},
        {"role": "assistant", "content": "Dukavo speaks Greek."},
    ]
    out = saved.apply_chat_template(
        turns, return_dict=True, return_assistant_tokens_mask=True
    )
    marked = [
        i for i, m in zip(out["input_ids"], out["assistant_masks"], strict=True) if m
    ]
    assert saved.decode(marked) == "Dukavo speaks Greek.</s>"


def test_the_chat_template_refuses_other_turns(saved):
    with pytest.raises(Exception, match="user and assistant turns only"):
        saved.apply_chat_template([{"role": "system", "content": "x"}], tokenize=False)


def test_a_token_has_the_weight_of_the_piece_it_ends_in(tokenizer):
    line = corpus_lines(make_world(0), "profile")[0]
    (row,) = encode_lines(tokenizer, [line])
    person = [0.1] * 4
    assert row.weights.tolist() == pytest.approx([*person, 1, 1, 1, 1, 0.1, 0.1])
    assert row.token_ids.dtype == np.int32


def test_same_words_same_bytes(tokenizer):
    shuffled = make_tokenizer(all_words()[::-1])
    assert shuffled.to_str() == tokenizer.to_str()
