"""Do words that several commands could mean reach the right one?"""

import pytest

from driftmap.cli.commands import app, meant
from driftmap.cli.main import main
from driftmap.core.errors import UsageError
from driftmap.recipes.clean import Clean
from driftmap.recipes.data_list import DataList
from driftmap.recipes.drift_logs import DriftLogs
from driftmap.store.recipe_file import load_recipe
from published_logs import write_logs


def test_drift_logs_are_a_study_of_their_own(tmp_path):
    for words in (
        ["drift", "--drift-logs", "logs", "--out", "here"],
        ["drift", "--out=here", "--drift-logs=logs"],
    ):
        recipe = app(meant(words))
        assert isinstance(recipe, DriftLogs)
        assert (str(recipe.drift_logs), str(recipe.out)) == ("logs", "here")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--model=m"], "--model"),
        (["--seeds", "-3", "--model", "m", "--no-keep"], "--model, --no-keep, --seeds"),
        (["-q"], "-q"),
    ],
)
def test_options_of_the_other_study_beside_drift_logs(more, named):
    with pytest.raises(UsageError) as caught:
        meant(["drift", "--drift-logs", "logs", *more])
    assert str(caught.value) == (
        "--drift-logs starts from measurements that were made already, and "
        f"{named} can change nothing in them; give only --out beside it, or leave "
        "--drift-logs out"
    )


def test_drift_logs_are_drawn_and_replayed(tmp_path, capsys):
    out = tmp_path / "out"
    logs = write_logs(tmp_path / "logs")
    assert main(["drift", "--drift-logs", str(logs), f"--out={out}"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(str(out))
    assert load_recipe(out).kind == "drift-logs"
    assert main(["run", str(out)]) == 0
    assert capsys.readouterr().out == shown
    (tmp_path / "own.yaml").write_text(f"kind: drift\ndrift_logs: {logs}\n")
    again = tmp_path / "again"
    assert main(["run", str(tmp_path / "own.yaml"), f"--out={again}"]) == 0
    assert load_recipe(again).kind == "drift-logs"


def test_the_help_of_drift_tells_of_drift_logs(capsys):
    assert main(["drift", "--help"]) == 0
    assert "drift --drift-logs FOLDER" in " ".join(capsys.readouterr().out.split())
    assert main(["drift", "--drift-logs", "x", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: driftmap drift --drift-logs PATH")
    assert main(["--help"]) == 0
    assert "drift-logs" not in capsys.readouterr().out


def test_data_sets_are_listed(capsys):
    assert isinstance(app(["data", "list"]), DataList)
    assert main(["data"]) == 0
    assert "list" in capsys.readouterr().out
    assert main(["data", "list", "--all"]) == 2
    assert "see `driftmap data list --help`" in capsys.readouterr().err


def test_cleaning_reads_its_words():
    recipe = app(["clean", "run", "--dry-run"])
    assert isinstance(recipe, Clean)
    assert (str(recipe.run_folder), recipe.dry_run, recipe.checkpoints) == (
        "run",
        True,
        False,
    )
