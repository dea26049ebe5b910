"""The page on readings: what its tables, notes and colours say."""

import math
import re

import numpy as np
import pytest

from driftmap.measure.tokens import confident_and_wrong, stretches, text_summary
from driftmap.render import read_texts
from driftmap.render.html import html_of
from driftmap.render.read_page import read_page
from driftmap.render.read_texts import terminal_texts, texts_by
from driftmap.render.text import text_of
from driftmap.results.provenance import ModelIdentity
from driftmap.results.reading_study import ReadingStudy, ReadText, TextLens
from driftmap.results.readings import LensReadings
from made_readings import made_readings

MODEL = ModelIdentity(
    source="m", sha256="0" * 64, base_sha256="0" * 64, family="llama", dtype="float32",
    device="cpu", num_weights=1,
)  # fmt: skip


def read_text(readings):
    wrong = confident_and_wrong(readings, sure_below=1, wrong_above=3)
    return ReadText(
        readings=readings,
        summary=text_summary(readings),
        characters=stretches(readings, "character"),
        words=stretches(readings, "word"),
        sentences=stretches(readings, "sentence"),
        wrong=tuple(np.flatnonzero(wrong).tolist()),
    )


def study_of(*texts, lenses=(), shown="surprise"):
    return ReadingStudy(
        texts=tuple(read_text(one) for one in texts),
        lenses=lenses,
        shown=shown,
        sure_below=1.0,
        wrong_above=3.0,
        model=MODEL,
        settings={"lens": bool(lenses)},
        versions={"driftmap": "0"},
    )


def plain():
    return made_readings(
        "The", " <b>", " cat", "\n", "sat.", " On",
        surprise=[0.5, 5.0, 0.1, 2.0, 4.0], entropy=[0.6, 0.2, 0.1, 2.5, 3.0],
    )  # fmt: skip


def asked():
    return made_readings(
        "Why", "?", " So", ".", surprise=[9.0, 0.7, 0.1], num_context=2,
        is_generated=True, name="prompt 1",
    )  # fmt: skip


def lens():
    p = np.array([[0.1, 0.2], [0.3, 0.9]])
    return TextLens(
        name="text 1",
        lens=LensReadings(
            positions=np.array([0, 1]), answer_ids=np.array([1, 2]), foil_ids=None,
            answer_p=p, answer_rank=np.array([[9, 0], [0, 0]]), foil_p=None,
            foil_rank=None, entropy=p, kl=p, top_ids=np.zeros((2, 2), np.int64),
        ),
        tokens=(" cat", " sat"),
        tops=((" x", " y"), (" z", " sat")),
        num_left_out=3,
    )  # fmt: skip


def test_the_page_says_what_was_read_and_how_well():
    text = text_of(read_page(study_of(plain(), asked())))
    # Mean surprise 11.6 / 5; exp(2.32); published divides by 6.
    assert "`text 1`: perplexity 10.2 over 5 tokens; 40 % of them were the" in text
    assert re.search(r"`text 1`\s+6\s+5\s+10.2\s+6.91\s", text)
    assert "at 1 of them it was sure of something else" in " ".join(text.split())
    assert "`prompt 1`: perplexity 1.49 over 2 tokens" in text


def test_sure_and_wrong_tokens_are_listed_with_what_was_expected():
    text = text_of(read_page(study_of(plain())))
    assert "1 tokens; sure and wrong: entropy below 1, surprise above 3 nats." in text
    assert re.search(r"`text 1`\s+“ cat”\s+5\s+0.2\s+“ a” .60\s+…“The <b>”", text)
    assert "Neither number says whether a text is true." in text
    calm = made_readings("a", " b", surprise=[1.0])
    assert "No token is both" in text_of(read_page(study_of(calm)))


def test_pieces_carry_their_numbers_and_the_first_has_none():
    node = texts_by(study_of(plain()), "surprise")
    first, second, third, *_ = node.texts[0].pieces
    assert first.value is None
    assert first.note == "no reading: nothing stands before it"
    assert second.value == 0.5
    assert second.note.split("\n") == [
        "surprise 0.5 nats, p .61",
        "the first choice",
        "entropy 0.6 nats",
        "most likely: “ a” .60, “<b>” .30",
    ]
    assert third.is_marked
    assert "rank 1: 1 token was likelier, of 8" in third.note
    assert [
        piece.value for piece in texts_by(study_of(plain()), "entropy").texts[0].pieces
    ][1:3] == [0.6, 0.2]


def test_entropy_as_a_share_of_the_most_there_can_be():
    node = texts_by(study_of(plain()), "relative-entropy")
    # 0.2 nats of a vocabulary of 8.
    assert node.texts[0].pieces[2].value == pytest.approx(0.2 / (3 * math.log(2)))
    page = text_of(read_page(study_of(plain(), shown="relative-entropy")))
    assert "share of ln of the vocabulary's size" in page


def test_of_a_very_long_text_the_beginning_is_shown(monkeypatch):
    monkeypatch.setattr(read_texts, "MOST_PIECES", 3)
    (text,) = texts_by(study_of(plain()), "surprise").texts
    assert [piece.text for piece in text.pieces] == ["The", " <b>", " cat"]
    assert "the first 3 of 6 pieces are shown" in text.note


def test_a_prompt_is_grey_and_does_not_stretch_the_scale():
    node = texts_by(study_of(asked()), "surprise")
    assert [piece.is_context for piece in node.texts[0].pieces] == [1, 1, 0, 0]
    assert max(node.scale.edges) < 1
    assert node.texts[0].pieces[1].note.endswith("prompt: shown, not counted")


@pytest.mark.parametrize(("shown", "value"), [("surprise", "5"), ("entropy", "3")])
def test_the_terminal_shows_what_was_asked_for(shown, value):
    written = terminal_texts(study_of(plain(), shown=shown), "none")
    assert written.startswith(f"{shown} (nats): ")
    assert "The-" in written
    assert " cat" in written
    assert "!" in written
    assert "<b>" in written


def test_texts_cannot_become_markup_on_the_page():
    html = html_of(read_page(study_of(plain())))
    assert "<b>" not in html.split("<script", 1)[0]
    assert "&lt;b&gt;" in html


def test_the_lens_shows_each_layer_and_what_is_left_out():
    text = text_of(read_page(study_of(plain(), lenses=(lens(),))))
    assert "What each layer would say" in text
    assert "3 later tokens are not shown." in text
    assert re.search(r"“ sat”\s+“ y” .20\s+“ sat” .90", text)
    assert "What each layer would say" not in text_of(read_page(study_of(plain())))


def test_long_texts_name_their_windows():
    readings = made_readings(*"abcdefghij", surprise=[1.0] * 9)
    object.__setattr__(readings, "window", 4)
    object.__setattr__(readings, "stride", 2)
    assert "4 of 4 tokens, stride 2" in text_of(read_page(study_of(readings)))
