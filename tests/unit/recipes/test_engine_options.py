import re
from dataclasses import replace
from pathlib import Path

import pytest

from driftmap.cli.main import main
from driftmap.core.errors import UsageError
from driftmap.engine.shards import Fraction, Range
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import FREE, EngineOptions
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.score import Score
from driftmap.recipes.steps.submitting import slurm_script


def test_nothing_is_shared_unless_it_is_asked_for():
    assert not EngineOptions().is_shared
    assert not EngineOptions(print_slurm=True).is_shared
    for options in (
        EngineOptions(workers=1),
        EngineOptions(engine="ray"),
        EngineOptions(partition="1/2"),
        EngineOptions(partition_start=0, partition_end=3),
    ):
        assert options.is_shared


def test_parts_are_read_from_either_way_of_naming_them():
    assert EngineOptions(partition="2/3").part == Fraction(index=2, count=3)
    by_range = EngineOptions(partition_start=2, partition_end=3)
    assert by_range.part == Range(start=2, stop=3)
    assert EngineOptions().part is None


def test_no_setting_of_the_block_changes_what_comes_out():
    fields = EngineOptions.__dataclass_fields__
    assert set(FREE) == {f"engine.{name}" for name in fields}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--partition", "0/3"], "--partition 0/3 names no part; give its number and"),
        (["--partition", "4/3"], "--partition 4/3 names no part; give its number and"),
        (["--partition", "x"], "--partition x names no part; give its number and how"),
        (["--partition-start", "3"], "--partition-start is given alone; give --part"),
        (["--workers", "0"], "--workers is 0; give at least 1"),
    ],
)
def test_wrong_words_end_in_one_sentence(words, wanted, capsys):
    assert main(["score", "--model=m", "--data=d", *words]) == 2
    told = capsys.readouterr().err
    assert wanted in " ".join(told.split())
    assert "Traceback" not in told


SCORE = Score(source=ModelSource(model="my model"), data="d.jsonl")


def test_a_script_holds_what_is_not_at_its_default():
    recipe = replace(
        SCORE,
        scoring=ScoringOptions(num_samples=7, positions="all"),
        keep=True,
        out=Path("runs/a b"),
    )
    script = slurm_script(recipe, "score", EngineOptions(engine="ray", workers=3))
    command = " ".join(script.replace("\\\n", " ").split()).partition(" -- ")[2]
    assert command == (
        "driftmap score --model 'my model' --data d.jsonl --num-samples 7 "
        "--positions all --keep --workers 3 --engine ray --out 'runs/a b'"
    )


def test_an_array_of_few_parts_names_each():
    script = slurm_script(SCORE, "score", EngineOptions(partition="1/2"))
    assert "#SBATCH --array=1-2" in script
    assert (
        "# driftmap merge runs/score-parts/1 runs/score-parts/2 --out runs/score"
        in script
    )


def test_an_array_of_ranges_is_refused():
    options = EngineOptions(partition_start=0, partition_end=9)
    wanted = "--print-slurm writes a job array of equal parts, and --partition-start"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        slurm_script(SCORE, "score", options)


def test_no_line_of_a_script_is_long():
    recipe = replace(SCORE, data="a-file-with-a-rather-long-name.jsonl", keep=True)
    for options in (EngineOptions(), EngineOptions(partition="1/90")):
        script = slurm_script(recipe, "score", options)
        assert max(map(len, script.splitlines())) <= 88
