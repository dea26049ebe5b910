"""Does a samples file that is almost right end in one sentence, or in what it says?"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftmap.cli.main import main
from driftmap.core.errors import DataError
from driftmap.load.samples import SampleSet, read_samples
from driftmap.store.groups import load_group
from driftmap.store.run_dir import RunDir
from mutated_files import GoodFile, Mutant, good_files, mutants
from tiny_studies import save_tiny_data, save_tiny_model, study_words

SEED = 0
PER_MUTATION = 2  # so many of its files go through the command line
ROLES = ("behaviour", "utility", "tune", "score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What reading a mutant gives, and what reading the good file gave."""

    mutant: Mutant
    file: Path
    found: SampleSet | Exception
    expected: SampleSet


def said(sample):
    return sample.messages, sample.tokens, sample.label, sample.plain_prompt


def check_error(message: str, stem: str) -> None:
    assert message.isprintable(), "one line that no terminal acts on"
    assert len(message) < 1_000
    assert stem in message, "names the file"
    assert "; " in message, "says what to do"


def check_load(mutant: Mutant, found: SampleSet, expected: SampleSet) -> None:
    assert not mutant.broken, "it must be refused"
    if mutant.num_rows is not None:
        assert len(found.samples) == mutant.num_rows
    if mutant.kept:
        assert found.shape == expected.shape
    for here, before in mutant.kept.items():
        assert said(found.samples[here]) == said(expected.samples[before])
    for here, text in mutant.holds.items():
        contents = [message.content for message in found.samples[here].messages]
        assert any(text in content for content in contents)
    for sample in found.samples:
        for message in sample.messages:
            message.content.encode()


def check(fate: Fate) -> None:
    if isinstance(fate.found, SampleSet):
        check_load(fate.mutant, fate.found, fate.expected)
        return
    assert isinstance(fate.found, DataError), type(fate.found).__name__
    assert not fate.mutant.whole, "it must be read"
    check_error(str(fate.found), fate.file.stem)


def read_good(good: GoodFile, folder: Path) -> SampleSet:
    file = folder / f"good{good.ending}"
    file.write_bytes(good.content)
    return read_samples(str(file))


def read_fates(folder: Path) -> list[Fate]:
    """Every mutant with its file and what reading it gives."""
    expected: dict[int, SampleSet] = {}
    fates = []
    for number, mutant in enumerate(mutants(SEED)):
        if id(mutant.good) not in expected:
            expected[id(mutant.good)] = read_good(mutant.good, folder)
        file = folder / f"mutant{number}{mutant.ending}"
        file.write_bytes(mutant.content)
        try:
            found = read_samples(str(file))
        except Exception as error:  # noqa: BLE001  anything but a DataError fails
            found = error
        fates.append(
            Fate(
                mutant=mutant, file=file, found=found,
                expected=expected[id(mutant.good)],
            )
        )  # fmt: skip
    return fates


@pytest.fixture(scope="module")
def fates(tmp_path_factory):
    return read_fates(tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize(
    "good", tuple(good_files()), ids=lambda g: g.shape.name + g.ending
)
def test_the_good_files_are_good(good, tmp_path):
    found = read_good(good, tmp_path)
    assert found.shape == good.shape.name
    assert len({said(sample) for sample in found.samples}) == len(good.rows)


@pytest.mark.slow
def test_every_mutant_is_refused_in_one_sentence_or_read_right(fates):
    wrong = []
    for fate in fates:
        try:
            check(fate)
        except (AssertionError, IndexError, UnicodeEncodeError) as error:
            reason = str(error).partition("\n")[0]
            wrong.append(f"{fate.mutant.name}: {reason}; {fate.found!s:.300}")
    assert not wrong, "\n".join(wrong)
    refused = [fate for fate in fates if isinstance(fate.found, DataError)]
    assert min(len(refused), len(fates) - len(refused)) >= 600, "both ends are met"


def some(fates: list[Fate]) -> list[Fate]:
    """A few of every mutation, each of another shape or ending."""
    by_mutation: dict[str, list[Fate]] = defaultdict(list)
    for fate in fates:
        by_mutation[fate.mutant.name.partition(",")[0]].append(fate)
    chosen = []
    for number, alike in enumerate(by_mutation.values()):
        step = len(alike) // PER_MUTATION or 1
        first = number % step
        chosen += alike[first::step][:PER_MUTATION]
    return chosen


def command(fate: Fate, role: str, model: Path, data: dict, out: Path) -> list[str]:
    """A study that reads the file; one that is short where nothing stops it."""
    if role == "score" or isinstance(fate.found, SampleSet):
        positions = "all" if fate.mutant.good.shape.name == "text" else "response"
        return [
            "score", f"--model={model}", f"--data={fate.file}", "--device=cpu",
            "--num-samples=2", f"--positions={positions}", f"--out={out}",
        ]  # fmt: skip
    return study_words(model, {**data, role: fate.file}, out)


def check_end(fate: Fate, code: int, said: str, out: Path) -> None:
    assert "Traceback" not in said
    assert "this should not happen" not in said
    if code == 0:
        assert isinstance(fate.found, SampleSet)
        with RunDir.reopen(out) as run:
            run.require("score")
        assert load_group(out / "groups/top.safetensors").members
        return
    assert code in (1, 2)
    last = said.rstrip("\n").rpartition("\n")[2]
    assert last.startswith("error: ")
    assert last.isprintable()
    if isinstance(fate.found, DataError):
        assert " ".join(str(fate.found).split()) in last
    assert not out.exists(), "nothing is half-written"


@pytest.mark.slow
def test_commands_end_in_one_sentence_or_a_whole_run(fates, tmp_path, capsys):
    model, data = save_tiny_model(tmp_path / "model"), save_tiny_data(tmp_path)
    chosen = some(fates)
    assert len(chosen) >= 200
    codes = set()
    for number, fate in enumerate(chosen):
        out = tmp_path / f"run{number}"
        role = ROLES[number % len(ROLES)]
        capsys.readouterr()
        code = main(command(fate, role, model, data, out))
        check_end(fate, code, capsys.readouterr().err, out)
        codes.add(code)
    assert codes == {0, 1}
