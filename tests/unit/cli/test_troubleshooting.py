"""Does every error that names the troubleshooting page lead to what explains it?

Each sentence that the page quotes is compared with what the mistake leads to.
"""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from driftmap.cli.main import main
from driftmap.cli.mistakes import PAGE
from driftmap.core.errors import Topic
from driftmap.core.scratch import place_with_room
from driftmap.recipes.steps.needs import foreseen as needs
from made_hub import UNKNOWN_TOKEN, serving
from tiny_studies import save_tiny_data, save_tiny_model, study_words, write_rows
from tokenizers_made import save_without_offsets

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
DRIFTMAP = str(Path(sys.executable).with_name("driftmap"))
ENTRIES = {
    re.sub(r"\s+", "-", title.lower()): body
    for title, body in re.findall(
        r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
}
QUOTES = {
    topic: re.search(r"```text\n(.*?)```", body, re.DOTALL)[1].splitlines()
    for topic, body in ENTRIES.items()
}


def test_topics_are_the_entries_of_the_page_and_each_is_raised():
    raised = set()
    for file in (ROOT / "src").rglob("*.py"):
        raised |= set(re.findall(r'topic="([\w-]+)"', file.read_text(encoding="utf-8")))
    # Claims of a comparison have topics too; a wrong one of an error pyright names.
    assert set(get_args(Topic)) == set(ENTRIES) <= raised


def test_each_entry_says_why_and_what_to_do():
    for topic, body in ENTRIES.items():
        assert body.lstrip().startswith("```text\n"), topic
        assert "**Why.**" in body, topic
        assert "**What to do.**" in body, topic


MISTAKES = {}
"""By topic and place of the quote in its entry: what makes the mistake."""


def mistake(topic, place):
    """Register what makes a mistake and returns what it heard."""

    def register(make):
        MISTAKES[topic, place] = make
        return make

    return register


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_data(tmp_path)
    return tmp_path


def score(*, model="my-model", data="utility.jsonl", out="runs/full"):
    return ["score", f"--model={model}", f"--data={data}", f"--out={out}"]


def heard(capsys, words):
    assert main(words) == 1
    return capsys.readouterr().err


def heard_of_command(words, hub=None, **changes):
    """The command in a process of its own, with a hub of its own if one is given."""
    environment = dict(os.environ)
    if hub is not None:
        kept = {k: v for k, v in environment.items() if not k.startswith("HF_")}
        environment = {**kept, "HF_ENDPOINT": hub, "HF_HOME": str(Path.cwd() / "home")}
    done = subprocess.run(
        [DRIFTMAP, *words],
        capture_output=True, text=True, check=False, env=environment, **changes,
    )  # fmt: skip
    assert done.returncode == 1
    return done.stderr


@mistake("model-not-found", 0)
def no_folder(capsys, **_):
    return heard(capsys, score(model="./my-model"))


@mistake("model-not-found", 1)
def an_empty_folder(here, capsys, **_):
    (here / "my-model").mkdir()
    return heard(capsys, score())


@mistake("model-not-found", 2)
def no_network(capsys, **_):
    return heard(capsys, score(model="someone/model"))


@mistake("model-not-found", 3)
def a_name_that_the_hub_does_not_know(hub, **_):
    return heard_of_command(score(model="someone/model"), hub)


@mistake("model-not-found", 4)
def a_hub_that_is_ill(hub, **_):
    told = heard_of_command(score(model="someone/broken"), hub)
    return told.replace("someone/broken", "someone/model")


@mistake("data-not-recognised", 0)
def unknown_columns(here, capsys, **_):
    (here / "mine.csv").write_text("question,answer\nwhy?,so\n")
    return heard(capsys, score(data="mine.csv"))


@mistake("data-not-recognised", 1)
def no_file(capsys, **_):
    return heard(capsys, score(data="mine.jsonl"))


@mistake("data-not-recognised", 2)
def a_spreadsheet(here, capsys, **_):
    (here / "mine.xlsx").write_text("x")
    return heard(capsys, score(data="mine.xlsx"))


@mistake("gated-model", 0)
def no_token(hub, **_):
    return heard_of_command(score(model="someone/gated"), hub)


@mistake("gated-model", 1)
def a_token_that_was_not_allowed(here, hub, **_):
    (here / ".env").write_text("HF_TOKEN=hf_ofSomebodyElse\n")
    return heard_of_command(score(model="someone/gated"), hub)


@mistake("gated-model", 2)
def a_token_that_nobody_knows(here, hub, **_):
    (here / ".env").write_text(f"HF_TOKEN={UNKNOWN_TOKEN}\n")
    told = heard_of_command(score(model="someone/gated"), hub)
    assert UNKNOWN_TOKEN not in told
    return told


@mistake("tokenizer-without-offsets", 0)
def no_offsets(here, capsys, **_):
    folder = save_tiny_model(here / "my-model")
    for file in folder.glob("*token*"):
        file.unlink()
    save_without_offsets(folder)
    told = heard(capsys, score())
    row = {"input_ids": [17, 4, 20, 9], "labels": [-100, -100, 20, 9]}
    write_rows(here / "ids.jsonl", [row] * 3)
    assert main(score(data="ids.jsonl")) == 0
    return told


def with_template(here, template):
    folder = save_tiny_model(here / "my-model")
    assert "generation %" not in (folder / "chat_template.jinja").read_text()
    assert main([*score(out="runs/plain"), "--num-samples=2"]) == 0  # needs no marks
    (folder / "chat_template.jinja").write_text(template)
    turns = [("system", "be kind"), ("user", "why?"), ("assistant", "so be it")]
    said = [{"role": role, "content": content} for role, content in turns]
    write_rows(here / "mine.jsonl", [{"messages": said}])
    return score(data="mine.jsonl")


@mistake("chat-template", 0)
def a_template_that_refuses(here, capsys, **_):
    refusing = (
        "{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
    )
    return heard(capsys, with_template(here, refusing))


@mistake("chat-template", 1)
def a_template_that_rewrites(here, capsys, **_):
    cutting = "{% for m in messages %}{{ m['content'].split('so')[-1] }}{% endfor %}"
    return heard(capsys, with_template(here, cutting))


@mistake("disk", 0)
def a_disk_that_is_full(here, **_):
    """The system lets no file grow beyond a size, as a full disk would."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    save_tiny_model(here / "my-model")
    return heard_of_command(score(), preexec_fn=limit)


def study(here):
    """Words of a study with the batches that it has by default."""
    names = ("behaviour", "utility", "tune")
    data = {name: Path(f"{name}.jsonl") for name in names}
    save_tiny_model(here / "my-model")
    words = study_words(Path("my-model"), data, Path("runs/full"))
    return [word for word in words if not word.startswith(("--batch", "--grad"))]


@mistake("disk", 1)
def no_room_for_the_run(here, monkeypatch, capsys, **_):
    monkeypatch.setattr("driftmap.recipes.steps.needs.foreseen.free_disk", lambda _: 10)
    return heard(capsys, study(here))


@mistake("disk", 2)
def no_room_for_temporary_files(here, monkeypatch, capsys, **_):
    monkeypatch.setattr("driftmap.core.scratch.room_in", lambda _: 10)

    def needing(*_, **__):
        place_with_room(10_000)

    monkeypatch.setattr("driftmap.recipes.steps.scoring.files.score_step", needing)
    save_tiny_model(here / "my-model")
    return heard(capsys, score())


@mistake("memory", 0)
def a_model_too_large(here, monkeypatch, capsys, **_):
    monkeypatch.setattr("driftmap.load.fits.free_memory", lambda: 10)
    monkeypatch.setattr("driftmap.load.fits.free_swap", lambda: 0)
    save_tiny_model(here / "my-model")
    return heard(capsys, score())


def too_little_for(what, monkeypatch):
    """Let there be enough memory for the largest smaller batch and no more."""
    estimated = needs.study_estimates

    def one(*args):
        found = next(each for each in estimated(*args) if each.what == what)
        peaks = [found.memory, found.smaller[0][1]]
        more, less = (max(peak.device, peak.host) for peak in peaks)
        monkeypatch.setattr(needs, "free_memory", lambda: (more + less) // 2)
        monkeypatch.setattr(needs, "free_swap", lambda: 0)
        return [found]

    monkeypatch.setattr(needs, "study_estimates", one)


def run_out(*_, **__):
    raise MemoryError


@mistake("memory", 1)
def too_little_to_score(here, monkeypatch, capsys, **_):
    too_little_for("scoring", monkeypatch)
    return heard(capsys, study(here))


@mistake("memory", 2)
def running_out_while_scoring(here, monkeypatch, capsys, **_):
    monkeypatch.setattr("driftmap.recipes.steps.groups.choosing._choose", run_out)
    return heard(capsys, study(here))


@mistake("memory", 3)
def too_little_to_tune(here, monkeypatch, capsys, **_):
    too_little_for("fine-tuning", monkeypatch)
    return heard(capsys, study(here))


@mistake("memory", 4)
def running_out_while_tuning(here, monkeypatch, capsys, **_):
    monkeypatch.setattr("driftmap.recipes.steps.tuning.training.tune", run_out)
    return heard(capsys, study(here))


OF_A_PROCESS = {"model-not-found": (3, 4), "gated-model": (0, 1, 2), "disk": (0,)}


@pytest.mark.parametrize(
    ("topic", "place"),
    [
        pytest.param(
            topic,
            place,
            marks=[pytest.mark.slow] if place in OF_A_PROCESS.get(topic, ()) else [],
        )
        for topic, place in MISTAKES
    ],
)
def test_a_mistake_is_told_as_the_page_quotes_it(
    topic, place, here, hub, capsys, monkeypatch
):
    make = MISTAKES[topic, place]
    told = make(here=here, hub=hub, capsys=capsys, monkeypatch=monkeypatch)
    last = told.rstrip("\n").splitlines()[-1].replace(hub, "https://huggingface.co")
    said, _, page = last.removeprefix("error: ").rpartition("; see ")
    assert page == f"{PAGE}#{topic}", last
    quote = QUOTES[topic][place]
    assert re.fullmatch(re.escape(quote).replace("…", ".+"), said), (quote, said)


def test_every_quote_has_its_mistake():
    quoted = {(topic, n) for topic in QUOTES for n in range(len(QUOTES[topic]))}
    assert quoted == set(MISTAKES)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serving(save_tiny_model(tmp_path_factory.mktemp("hub"))) as address:
        yield address
