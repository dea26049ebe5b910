"""How is a command given to SLURM, as one job on Ray or as an array of parts?

Only text is made here. Numbers that belong to a cluster and not to the command, such as
hours and GPUs, stand at the top of the script to be changed.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LONGEST_LINE = 88
_INDENT = "    "
_FEW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command as a person gives it.

    Args:
        command: Its name, as in `index build`.
        options: Its options, as words, without where it runs and without `--out`.
        out: Its run folder.
    """

    command: str
    options: tuple[str, ...]
    out: str

    @property
    def name(self) -> str:
        """What the queue calls it.

        >>> Job(command="index build", options=(), out="runs/index").name
        'driftmap-index-build'
        """
        return "-".join(["driftmap", *self.command.split()])

    @property
    def words(self) -> list[str]:
        """The command and its options, quoted for a shell; no word breaks a line."""
        return ["driftmap", self.command, *_paired(self.options)]


def ray_script(job: Job) -> str:
    """Write a script that runs a command on a Ray cluster of all machines of a job.

    Args:
        job: The command.

    >>> script = ray_script(Job(command="score", options=(), out="runs/score"))
    >>> print(script.splitlines()[-1])
        driftmap score --engine ray --out runs/score
    """
    words = [*job.words, "--engine ray", f"--out {shlex.quote(job.out)}"]
    asked = ["nodes=2", "ntasks-per-node=1", "exclusive", "gpus-per-node=8"]
    return _script(
        job,
        asked,
        [
            "# One task per machine: together they are a cluster of Ray. The first one",
            "# runs the command, with a worker per GPU. The run folder lies on storage",
            "# that all of them share.",
            "export RAY_USAGE_STATS_ENABLED=0",
            'mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")',
            'HEAD="${NODES[0]}"',
            'srun --ntasks-per-node=1 ray symmetric-run --address "$HEAD:6379" \\',
            f'{_INDENT}--min-nodes "$SLURM_NNODES" -- \\',
            *_wrapped(words),
        ],
    )


def array_script(job: Job, count: int) -> str:
    """Write a script that runs a command in parts, one task of a job array each.

    Args:
        job: The command.
        count: Parts (count).

    >>> script = array_script(Job(command="score", options=(), out="runs/score"), 8)
    >>> print(script.splitlines()[9])
    # driftmap merge runs/score-parts/{1..8} --out runs/score
    """
    parts, task = shlex.quote(f"{job.out}-parts"), '"$SLURM_ARRAY_TASK_ID"'
    named = [f"{parts}/{n}" for n in range(1, count + 1)]
    listed = " ".join(named) if count <= _FEW else f"{parts}/{{1..{count}}}"
    words = [
        *job.words,
        f'--partition "$SLURM_ARRAY_TASK_ID/{count}"',
        f"--out {parts}/{task}",
    ]
    return _script(
        job,
        [f"array=1-{count}", "ntasks=1", "gpus-per-task=1"],
        [
            "# Each task works on its part of the samples. When all are done, join it:",
            f"# driftmap merge {listed} --out {shlex.quote(job.out)}",
            "srun \\",
            *_wrapped(words),
        ],
    )


def _script(job: Job, asked: Sequence[str], body: Sequence[str]) -> str:
    head = [f"job-name={job.name}", *asked, "time=12:00:00", "requeue"]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{option}" for option in head),
        "set -euo pipefail",
        *body,
    ]
    return "\n".join(lines)


def _paired(options: Sequence[str]) -> Iterator[str]:
    """Options with their values: these stay on one line."""
    held: list[str] = []
    for word in options:
        if word.startswith("--") and held:
            yield " ".join(held)
            held = []
        held.append(shlex.quote(word))
    if held:
        yield " ".join(held)


def _wrapped(words: Sequence[str]) -> list[str]:
    """Words on lines that are not too long, all but the last one continued."""
    first, *others = words
    lines = [_INDENT + first]
    for word in others:
        if len(lines[-1]) + len(word) + len("  \\") > _LONGEST_LINE:
            lines.append(_INDENT + word)
        else:
            lines[-1] += f" {word}"
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]
