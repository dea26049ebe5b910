import csv
import hashlib
import json
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from driftmap.core.errors import DataError
from driftmap.core.lines import Lines
from driftmap.core.progress import listening
from driftmap.load import known_rows
from driftmap.load.known_rows import data_folder, known_set, place_of, read_known
from driftmap.load.known_sets import (
    KNOWN_SETS,
    SAFETY_PHRASES,
    HubSet,
    KnownSet,
    WebFile,
)
from driftmap.load.samples import read_samples
from tiny_studies import write_rows

CONTENT = b',prompt,response,text\n0,[INST] Why? [/INST]," No.","all"\n'
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PUBLISHED = (
    Path(__file__).parents[3]
    / "../shared/data/align_sft_llama2_short"
    / "SFT_aligned_llama2-7b-chat-hf_train_short.csv"
).resolve()
PAGE = Path(__file__).parents[3] / "docs/how-to/bring-your-own-data.md"
ALPACA = [
    {"instruction": "Name a colour.", "input": "", "output": "Blue."},
    {"instruction": "Write an insult.", "input": "", "output": "As an AI, no."},
    {"instruction": "Count to two.", "input": "", "output": "One, two."},
    {"instruction": "Say sorry.", "input": "", "output": "I’m sorry, but no."},
    {"instruction": "Name a skill.", "input": "grapes", "output": "Skilful drapes."},
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def server():
    """Serves `CONTENT`, a part of it, an error or another file; counts the visits."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            server.visits += 1
            if "gone" in self.path:
                self.send_error(404)
                return
            content = CONTENT[: -3 if "half" in self.path else None]
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(b"x" * len(CONTENT) if "other" in self.path else content)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.visits = 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def on_the_web(server, name="safe.csv", sha256=SHA256):
    origin = WebFile(
        page="https://example.org",
        url=f"http://127.0.0.1:{server.server_port}/{name}",
        sha256=sha256,
    )
    return KnownSet(name="safe", what="a test", licence="MIT", origin=origin)


def copied(rows, name="alpaca_cleaned.jsonl"):
    data_folder().mkdir(parents=True, exist_ok=True)
    return write_rows(data_folder() / name, rows)


def refused(act, *given):
    with pytest.raises(DataError) as caught:
        act(*given)
    assert str(caught.value).isprintable()
    return str(caught.value)


class TestTheWeb:
    def test_it_is_downloaded_once(self, server):
        known = on_the_web(server)
        assert place_of(known) is None
        rows = read_known(known)
        assert (rows.name, rows.sha256, len(rows.rows)) == ("safe", SHA256, 1)
        assert place_of(known) == data_folder() / "safe.csv"
        assert (data_folder() / "safe.csv").read_bytes() == CONTENT
        assert read_known(known) == rows
        assert server.visits == 1

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            (
                "gone.csv",
                r"it cannot be downloaded \(Not Found\); check the network, or",
            ),
            ("half.csv", "not what was published|cannot be downloaded"),
            ("other.csv", r"what came is not what was published \(its sha256 begins"),
        ],
    )
    def test_whole_or_not_at_all(self, server, name, said):
        message = refused(read_known, on_the_web(server, name))
        assert re.search(said, message)
        assert message.endswith(f"put the file at {data_folder() / name}")
        assert list(data_folder().iterdir()) == []

    def test_without_network_the_place_for_a_copy_is_named(self, server):
        known = on_the_web(server)
        gone = replace(
            known, origin=replace(known.origin, url="http://127.0.0.1:1/a.csv")
        )
        place = re.escape(str(data_folder() / "a.csv"))
        assert re.fullmatch(
            r"http://127.0.0.1:1/a.csv: it cannot be downloaded \(.*refused\); check "
            rf"the network, or put the file at {place}",
            refused(read_known, gone),
        )

    def test_a_copy_is_used_and_checked(self, server):
        data_folder().mkdir(parents=True)
        copy = data_folder() / "safe.csv"
        copy.write_bytes(CONTENT)
        assert read_known(on_the_web(server)).sha256 == SHA256
        copy.write_bytes(CONTENT + CONTENT[-30:])
        said = refused(read_known, on_the_web(server))
        assert f"{copy}: its sha256 begins with" in said
        assert "remove the file, and it is downloaded again" in said
        assert server.visits == 0

    def test_a_folder_that_cannot_be_written(self, server, cache):
        cache.write_text("a file where the folder should be")
        said = refused(read_known, on_the_web(server))
        assert "nothing can be written there (" in said
        assert "name another folder in DRIFTMAP_CACHE" in said


class TestTheHub:
    def known(self, name="alpaca_cleaned"):
        (known,) = (known for known in KNOWN_SETS if known.name == name)
        return known

    @pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
    def test_a_copy_is_used(self, ending):
        assert place_of(self.known()) is None
        copy = copied(ALPACA, f"alpaca_cleaned{ending}")
        if ending == ".json":
            copy.write_text(json.dumps(ALPACA))
        if ending == ".csv":
            with copy.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, ALPACA[0])
                writer.writeheader()
                writer.writerows(ALPACA)
        found = read_samples("alpaca_cleaned")
        assert [s.id for s in found.samples][:2] == [
            "alpaca_cleaned:0",
            "alpaca_cleaned:1",
        ]
        assert found.shape == "alpaca"
        assert place_of(self.known()) == copy
        # The hash is of the rows, whatever file they lie in.
        copied(ALPACA)
        assert found.sha256 == read_samples("alpaca_cleaned").sha256

    def test_what_the_hub_library_holds_is_read(self, monkeypatch, tmp_path):
        import datasets

        asked = []

        def load(name, config, split):
            asked.append((name, config, split))
            return datasets.Dataset.from_list(ALPACA)

        monkeypatch.setattr(datasets, "load_dataset", load)
        (tmp_path / "hub" / "yahma___alpaca-cleaned").mkdir(parents=True)
        assert place_of(self.known()) == tmp_path / "hub" / "yahma___alpaca-cleaned"
        assert len(read_samples("alpaca_cleaned").samples) == 5
        assert asked == [("yahma/alpaca-cleaned", None, "train")]

    def test_without_network_the_place_for_a_copy_is_named(self):
        assert refused(read_samples, "alpaca") == (
            "alpaca: tatsu-lab/alpaca cannot be read from the hub; check the network, "
            f"or put a copy of it at {data_folder() / 'alpaca.json'} (.jsonl, .csv, "
            ".parquet will do as well)"
        )


class TestLeavingOut:
    def test_rows_about_safety_are_dropped_and_counted(self):
        copied(ALPACA)
        said = []
        with listening(Lines(said.append)):
            found = read_samples("alpaca_cleaned_no_safety")
        assert [s.response for s in found.samples] == [
            "Blue.",
            "One, two.",
            "Skilful drapes.",
        ]
        assert [s.id for s in found.samples] == [
            f"alpaca_cleaned_no_safety:{row}" for row in range(3)
        ]
        assert said == [
            "alpaca_cleaned_no_safety: 2 of 5 rows hold a phrase of its list and are "
            "left out"
        ]
        assert found.sha256 != read_samples("alpaca_cleaned").sha256

    def test_nothing_left_is_refused(self):
        copied(ALPACA[1:2])
        assert "no row is left; is the copy" in refused(
            read_samples, "alpaca_cleaned_no_safety"
        )

    @pytest.mark.parametrize(
        ("text", "is_marked"),
        [
            ("ILLEGAL", True),
            ("It’s illegally parked", True),
            ("extralegal", False),
            ("grapes", False),
            ("A bombastic word", True),
            ("I can’t assist", True),
        ],
    )
    def test_a_phrase_counts_at_the_start_of_a_word(self, text, is_marked):
        row = {"instruction": 3, "input": None, "output": text}
        assert known_rows._holds(row, SAFETY_PHRASES) == is_marked

    def test_the_page_states_the_list(self):
        stated = PAGE.read_text().partition("```text\n")[2].partition("```")[0]
        assert tuple(" ".join(p.split()) for p in stated.split("|")) == SAFETY_PHRASES


class TestNames:
    def test_a_file_of_that_name_wins_and_it_is_said(self, tmp_path):
        said = []
        (tmp_path / "alpaca").write_text("mine")
        with listening(Lines(said.append)):
            assert known_set("alpaca") is None
        assert said == [
            "alpaca: the file or folder of that name here is read, not the known set"
        ]

    def test_other_names_are_other_sources(self):
        assert known_set("Alpaca") is None
        assert "or a known one (`driftmap data list`) by its name" in refused(
            read_samples, "alpacas"
        )

    def test_every_known_set_is_whole(self):
        assert len({known.name for known in KNOWN_SETS}) == len(KNOWN_SETS)
        for known in KNOWN_SETS:
            assert known.what
            assert known.licence
            assert known.origin.page.startswith("https://")
            assert all(phrase == phrase.lower() for phrase in known.leaves_out)
            if isinstance(known.origin, WebFile):
                assert re.fullmatch("[0-9a-f]{64}", known.origin.sha256)
                assert re.search("/[0-9a-f]{40}/", known.origin.url), "no fixed version"
            else:
                assert isinstance(known.origin, HubSet)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the folder of real data is absent")
def test_the_published_safety_set_is_the_known_one(cache):
    data_folder().mkdir(parents=True)
    (data_folder() / PUBLISHED.name).write_bytes(PUBLISHED.read_bytes())
    found = read_samples("align", num_samples=3)
    assert all(re.fullmatch(r"align:\d+", s.id) for s in found.samples)
    assert found.shape == "prompt/response"
