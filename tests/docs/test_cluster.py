"""Do the scripts for clusters say what the commands understand?"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from driftmap.cli.commands import app, meant
from driftmap.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/run-on-a-cluster.md"
SHOWN = re.findall(
    r"```sh\n(driftmap [^\n]* --print-slurm)\n```\n\n```bash\n(.*?)```\n",
    PAGE.read_text(),
    re.DOTALL,
)
CONTAINER = ROOT / "scripts/slurm_container.sh"
NOTE = '#!/bin/bash\nprintf "%s\\n" "$0" "$@" >> "$NOTES"\n'


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A PATH on which `srun` and its like only note how they are called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("srun", "apptainer"):
        (programs / name).write_text(NOTE)
    (programs / "scontrol").write_text(
        '#!/bin/bash\n[[ "$*" == "show hostnames n[1-2]" ]] && printf "n1\\nn2\\n"\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def run(script, *words, **environment):
    return subprocess.run(
        ["bash", str(script), *words],
        env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def understood(words):
    """The command that the words after `driftmap` stand for."""
    command, bound, _ = app.parse_args(
        meant(words), exit_on_error=False, print_error=False
    )
    return command(*bound.args, **bound.kwargs)


def test_both_scripts_are_on_the_page():
    assert len(SHOWN) == 2


@pytest.mark.parametrize(("command", "script"), SHOWN, ids=["ray", "array"])
def test_the_page_shows_what_is_printed(command, script, capsys):
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out == script


@pytest.mark.parametrize(("command", "script"), SHOWN, ids=["ray", "array"])
def test_the_scripts_are_sound(command, script, tmp_path):
    file = tmp_path / "job.sh"
    file.write_text(script)
    for path in (file, CONTAINER):
        subprocess.run(["bash", "-n", str(path)], check=True)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", str(path)], check=True)


def test_the_job_on_ray_asks_for_what_the_command_was(cluster, tmp_path):
    command, script = SHOWN[0]
    (tmp_path / "job.sh").write_text(script)
    where = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NNODES": "2"}
    done = run(tmp_path / "job.sh", **where)
    assert done.returncode == 0, done.stderr
    _, *words = cluster.read_text().splitlines()
    assert words[:8] == [
        "--ntasks-per-node=1", "ray", "symmetric-run", "--address", "n1:6379",
        "--min-nodes", "2", "--",
    ]  # fmt: skip
    assert words[8] == "driftmap"
    asked = understood(words[9:])
    meant_by_page = understood(shlex.split(command)[1:])
    assert asked.engine.engine == "ray"
    assert asked.out == meant_by_page.out
    assert asked.scoring == meant_by_page.scoring
    assert (asked.source, asked.data, asked.keep) == (
        meant_by_page.source, meant_by_page.data, True,
    )  # fmt: skip


def test_each_task_of_the_array_works_on_its_part(cluster, tmp_path):
    _, script = SHOWN[1]
    (tmp_path / "job.sh").write_text(script)
    done = run(tmp_path / "job.sh", SLURM_ARRAY_TASK_ID="3")
    assert done.returncode == 0, done.stderr
    _, program, *words = cluster.read_text().splitlines()
    assert program == "driftmap"
    asked = understood(words)
    assert str(asked.engine.part) == "3/8"
    assert asked.out == Path("runs/score-parts/3")
    merge = re.search(r"^# (driftmap merge .*)$", script, re.MULTILINE)
    assert merge
    expanded = subprocess.run(
        ["bash", "-c", f"echo {merge[1]}"], capture_output=True, text=True, check=True
    ).stdout.split()
    parts = [f"runs/score-parts/{n}" for n in range(1, 9)]
    assert expanded == ["driftmap", "merge", *parts, "--out", "runs/score"]


@pytest.mark.parametrize("container", ["apptainer", "enroot"])
def test_the_container_runs_a_part_of_any_command(cluster, container):
    words = ["score", "--model", "my model", "--data", "d.jsonl"]
    done = run(
        CONTAINER, *words, OUT="runs/score", CONTAINER=container, IMAGE="here.sif",
        SLURM_ARRAY_TASK_ID="2", SLURM_ARRAY_TASK_COUNT="4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    called = cluster.read_text().splitlines()
    assert any("here.sif" in word for word in called)
    asked = understood(called[called.index("driftmap") + 1 :])
    assert (asked.source.model, asked.data) == ("my model", "d.jsonl")
    assert str(asked.engine.part) == "2/4"
    assert asked.out == Path("runs/score-parts/2")


def test_the_container_script_says_what_it_lacks(cluster):
    assert "name the run folder of the whole" in run(CONTAINER, "score").stderr
    told = run(
        CONTAINER, "score", OUT="o", CONTAINER="podman",
        SLURM_ARRAY_TASK_ID="2", SLURM_ARRAY_TASK_COUNT="4",
    )  # fmt: skip
    assert told.returncode == 2
    assert "CONTAINER is podman; give apptainer or enroot" in told.stderr
