"""Does the drift report name the score and the way of tuning that were used?"""

from dataclasses import replace

import pytest

from driftmap.render.drift_page import drift_page
from driftmap.render.text import text_of
from studies import study_of


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["A LoRA adapter is trained under several seeds.", "LoRA Fine-tuning by"]),
        (
            {
                "tune": "qlora",
                "rslora": True,
                "dora": True,
                "target_modules": ["q_proj"],
            },
            [
                "A rank-scaled LoRA adapter, with DoRA for the lengths of the rows, is "
                "trained under several seeds, on weights rounded to 4 bits. It sits on "
                "`q_proj` alone.",
                "DoRA LoRA that learns the length",
            ],
        ),
        (
            {"tune": "full"},
            ["Every parameter is trained, in float32, under", "full fine-tuning Train"],
        ),
        ({"factor": "none"}, ["SNIP score on the behaviour's samples", "how steeply"]),
        (
            {"score": "wanda"},
            ["|weight| times the root mean square of its inputs", "Wanda The score by"],
        ),
        ({"score": "random"}, ["gets a random number as score.", "at no sample"]),
    ],
)
def test_score_and_tuning_are_said_as_they_were(settings, words):
    study = study_of()
    study = replace(
        study, settings=dict(study.settings) | {"lora_parts": []} | settings
    )
    text = " ".join(text_of(drift_page(study)).split())
    for said in words:
        assert said in text
    assert ("LoRA" in text) == (settings.get("tune") != "full")
