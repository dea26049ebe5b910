"""Does `driftmap data paraphrase` pay for each text once, whatever the server does?"""

import hashlib
import json
import re

import pytest

from driftmap.cli.main import main
from driftmap.core.errors import DataError, ModelError, StoreError, UsageError
from driftmap.core.progress import listening
from driftmap.load.paired_sets import read_pairs
from driftmap.recipes.data_paraphrase import DataParaphrase
from driftmap.recipes.dataset_options import AskedServerOptions, RewordingOptions
from listeners import Ear
from made_server import chat, refusal, serving
from tiny_studies import write_rows

pytest.importorskip(
    "openai", reason="openai is not installed; pip install 'driftmap[endpoint]'"
)
SAID = {
    "What is red?": "Which thing is red?",
    "A barn is red.": "Red is the colour of a barn.",
    "Paint the fence now.": "Now put paint on the fence.",
    "The fence is done.": "Done is the fence.",
    "Count to 3.": "Please count up to 3.",
    "One, two, three.": "Three, two, one.",
}
PAIRS = list(zip(list(SAID)[::2], list(SAID)[1::2], strict=True))


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody-at-all")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def samples(tmp_path):
    rows = [
        {
            "id": f"s{number}",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": told},
            ],
        }
        for number, (asked, told) in enumerate(PAIRS)
    ]
    return str(write_rows(tmp_path / "samples.jsonl", rows))


def text_of(body):
    system, user = body["messages"]
    assert "do not answer it" in system["content"]
    return re.fullmatch(r"<text>\n(.*)\n</text>", user["content"])[1]


def rewords(_path, body, _seen):
    return chat(SAID[text_of(body)]) | {
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    }


def recipe(served, samples, tmp_path, **changes):
    server = {
        "endpoint": served.address, "endpoint_model": "m",
        **changes.pop("server", {}),
    }  # fmt: skip
    return DataParaphrase(
        data=samples,
        out=tmp_path / "out",
        server=AskedServerOptions(**server),
        rewording=RewordingOptions(**changes.pop("rewording", {})),
        **changes,
    )


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def heard(recipe):
    ear = Ear()
    with listening(ear):
        file = recipe.run()
    return file, ear.heard


def record_of(tmp_path):
    return json.loads((tmp_path / "out/paraphrased.settings.json").read_text())


class TestWhole:
    def test_golden(self, samples, tmp_path):
        with serving(rewords) as served:
            file, said = heard(recipe(served, samples, tmp_path))
        rows = rows_of(file)
        assert [row["id"] for row in rows] == [f"s{n}/paraphrased" for n in range(3)]
        assert rows[0]["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Which thing is red?"},
            {"role": "assistant", "content": "Red is the colour of a barn."},
        ]
        assert (rows[0]["original_id"], rows[0]["version"]) == ("s0", "paraphrased")
        assert rows[0]["origin"]["model"] == "m"
        assert sorted(text_of(body) for body in served.asked) == sorted(SAID)
        assert {(b["model"], b["temperature"], b["seed"]) for b in served.asked} == {
            ("m", 1.0, 42)
        }
        pairs = read_pairs(str(tmp_path / "out/originals.jsonl"), [str(file)])
        assert pairs.original == (0, 1, 2)
        where = served.address.removeprefix("http://").removesuffix("/v1")
        assert re.fullmatch(
            rf"m at {where} is asked 6 times, about [\d,]+ tokens in and \d+ out",
            said[0],
        )
        assert said[1] == (
            "paraphrased.jsonl: 3 of 3 paraphrases, 0 of them flagged "
            "(paraphrased.settings.json says why); all in all 600 tokens in and 60 out"
        )
        assert "sk-of-nobody" not in "".join(
            path.read_text() for path in (tmp_path / "out").iterdir()
        )

    def test_a_second_run_sends_no_request(self, samples, tmp_path):
        with serving(rewords) as served:
            one = recipe(served, samples, tmp_path)
            before = one.run().read_bytes()
            sent = len(served.asked)
            file, said = heard(one)
            assert len(served.asked) == sent == 6
        assert file.read_bytes() == before
        assert said == [f"{file}: it is there, made with these settings, and is reused"]

    def test_the_bytes_of_its_files(self, tmp_path):
        row = {"id": "a", "prompt": "What is red?", "response": "A barn is red."}
        data = write_rows(tmp_path / "one.jsonl", [row])
        with serving(rewords) as served:
            file = recipe(served, str(data), tmp_path).run()
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
        made = (
            '{"model": "m", "temperature": "1.0", "seed": "42", "num_versions": "1", '
            f'"longest_reply": "4096", "num_samples": "all", "data": "{digest[:12]}"}}'
        )
        assert file.read_text() == (
            '{"id": "a/paraphrased", "original_id": "a", "version": "paraphrased", '
            '"messages": [{"role": "user", "content": "Which thing is red?"}, '
            '{"role": "assistant", "content": "Red is the colour of a barn."}], '
            '"label": null, "flags": [], "origin": ' + made + "}\n"
        )
        assert record_of(tmp_path) == {
            "kind": "driftmap.versions", "version": 1, "settings": json.loads(made),
            "of": digest, "num_rows": 1, "lacking": [], "left_out": {}, "rejected": {},
            "flagged": {}, "tokens_in": 200, "tokens_out": 20,
        }  # fmt: skip
        lines = (tmp_path / "out/paraphrased.replies.jsonl").read_text().splitlines()
        assert sorted(line.partition('", ')[2] for line in lines) == [
            '"text": "Red is the colour of a barn.", "ended": "whole", '
            '"tokens_in": 100, "tokens_out": 10}',
            '"text": "Which thing is red?", "ended": "whole", "tokens_in": 100, '
            '"tokens_out": 10}',
        ]

    def test_prices_are_shown_before_and_after(self, samples, tmp_path):
        prices = {"price_in": 10.0, "price_out": 100.0}
        with serving(rewords) as served:
            _, said = heard(recipe(served, samples, tmp_path, rewording=prices))
        assert re.search(r"out, 0\.\d\d at the prices given$", said[0])
        # 600 tokens at 10 and 60 at 100 per million.
        assert said[1].endswith("600 tokens in and 60 out, 0.01 at the prices given")

    def test_equal_texts_are_asked_once(self, tmp_path):
        turns = [
            {"role": "user", "content": "What is red?"},
            {"role": "assistant", "content": "A barn is red."},
        ]
        rows = [{"id": name, "messages": turns} for name in "ab"]
        file = write_rows(tmp_path / "twice.jsonl", rows)
        with serving(rewords) as served:
            made = rows_of(recipe(served, str(file), tmp_path).run())
        assert len(served.asked) == 2
        assert [row["id"] for row in made] == ["a/paraphrased", "b/paraphrased"]

    def test_several_versions_differ_by_seed(self, samples, tmp_path):
        def by_seed(_path, body, _seen):
            return chat(f"{SAID[text_of(body)]} {body['seed']}")

        with serving(by_seed) as served:
            file = recipe(
                served, samples, tmp_path, rewording={"num_versions": 2}
            ).run()
        rows = rows_of(file)
        assert [row["id"] for row in rows[:3]] == [
            "s0/paraphrased", "s0/paraphrased-2", "s1/paraphrased",
        ]  # fmt: skip
        assert rows[0]["messages"][1]["content"].endswith("42")
        assert rows[1]["messages"][1]["content"].endswith("43")
        assert {row["original_id"] for row in rows[:2]} == {"s0"}


class TestOdd:
    def test_flagged_are_kept_and_say_why(self, samples, tmp_path):
        def executes(path, body, seen):
            if text_of(body) == "Count to 3.":
                return chat("One, two, three.")
            return rewords(path, body, seen)

        with serving(executes) as served:
            file, said = heard(recipe(served, samples, tmp_path))
        flags = {row["id"]: row["flags"] for row in rows_of(file)}
        assert flags["s0/paraphrased"] == []
        assert flags["s2/paraphrased"][0].startswith("numbers are gone (3)")
        assert list(record_of(tmp_path)["flagged"]) == ["s2/paraphrased"]
        assert "1 of them flagged" in said[1]
        pairs = read_pairs(samples, [str(file)])
        assert list(pairs.remarks) == ["s2/paraphrased"]

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (chat("Please cou", "length"), "it was cut at the longest reply"),
            (chat(None), "it is empty"),
            (chat(None, "content_filter"), "the server's filter took it back"),
        ],
    )
    def test_rejected_are_missing_and_filled_by_the_next_run(
        self, samples, tmp_path, body, why
    ):
        def once(path, asked, _seen):
            if text_of(asked) == "Count to 3." and asked["seed"] == 42:
                return body
            return rewords(path, asked, _seen)

        with serving(once) as served:
            one = recipe(served, samples, tmp_path)
            file, said = heard(one)
            assert [row["original_id"] for row in rows_of(file)] == ["s0", "s1"]
            assert said[2:] == [
                f"s2/paraphrased is rejected: {why}",
                "paraphrased.jsonl lacks 1 of 3 ids: s2; run the same command again "
                "to fill them",
            ]
            assert len(served.asked) == 6
            assert record_of(tmp_path)["rejected"] == {"s2/paraphrased": why}
            one.run()
            assert len(served.asked) == 7
            assert served.asked[-1]["seed"] == 1042
        assert [row["original_id"] for row in rows_of(file)] == ["s0", "s1", "s2"]
        assert record_of(tmp_path)["lacking"] == []


class TestDies:
    def test_half_way_and_goes_on_without_paying_twice(self, samples, tmp_path):
        dead = []

        def dies(path, body, seen):
            if len(served.asked) > 3 and not dead:
                return (422, refusal("gone"))
            return rewords(path, body, seen)

        one_at_a_time = {"endpoint_parallel": 1}
        with serving(dies) as served:
            one = recipe(served, samples, tmp_path, server=one_at_a_time)
            with pytest.raises(ModelError, match="gone"):
                one.run()
            paid = [text_of(body) for body in served.asked[:3]]
            assert not (tmp_path / "out/paraphrased.jsonl").exists()
            assert (tmp_path / "out/paraphrased.settings.json").exists()
            dead.append("no more")
            rows = rows_of(one.run())
        again = [text_of(body) for body in served.asked[4:]]
        assert len(rows) == 3
        assert not set(again) & set(paid)
        assert len(again) == 3

    def test_busy_and_failing_servers_are_asked_again(self, samples, tmp_path):
        def busy(path, body, seen):
            status = {0: 429, 1: 500}.get(seen)
            return (
                rewords(path, body, seen) if status is None else (status, refusal("b"))
            )

        with serving(busy) as served:
            assert len(rows_of(recipe(served, samples, tmp_path).run())) == 3
        assert len(served.asked) == 18

    def test_a_slow_server_is_asked_again(self, samples, tmp_path):
        def slow(path, body, seen):
            return 0.6 if seen == 0 else rewords(path, body, seen)

        with serving(slow) as served:
            file = recipe(
                served, samples, tmp_path, server={"endpoint_timeout": 0.3}
            ).run()
        assert len(rows_of(file)) == 3

    def test_a_wrong_key_fails_at_once(self, samples, tmp_path):
        with (
            serving(lambda *_: (401, refusal("who?"))) as served,
            pytest.raises(ModelError, match="wants another key"),
        ):
            recipe(served, samples, tmp_path, server={"endpoint_parallel": 1}).run()
        assert len(served.asked) == 1

    def test_no_faster_than_asked(self, samples, tmp_path):
        import time

        begun = []

        def timed(path, body, seen):
            begun.append(time.monotonic())
            return rewords(path, body, seen)

        with serving(timed) as served:
            recipe(
                served, samples, tmp_path, server={"requests_per_minute": 400.0}
            ).run()
        assert max(begun) - min(begun) >= 5 * 60 / 400 - 0.1


class TestRefused:
    @pytest.fixture
    def made(self, samples, tmp_path):
        with serving(rewords) as served:
            recipe(served, samples, tmp_path).run()
        return served

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            (
                {"rewording": {"temperature": 0.7}},
                "paraphrased.jsonl was made with temperature 1.0, this run asks 0.7: "
                "choose another --out",
            ),
            (
                {"server": {"endpoint_model": "n"}},
                "paraphrased.jsonl was made with model m, this run asks n: choose "
                "another --out",
            ),
            (
                {"num_samples": 2},
                "paraphrased.jsonl was made with num_samples all, this run asks 2: "
                "choose another --out",
            ),
        ],
    )
    def test_another_way_of_making(self, made, samples, tmp_path, changes, said):
        before = (tmp_path / "out/paraphrased.jsonl").read_bytes()
        with pytest.raises(StoreError) as caught:
            recipe(made, samples, tmp_path, **changes).run()
        assert str(caught.value) == said
        assert (tmp_path / "out/paraphrased.jsonl").read_bytes() == before

    def test_other_samples(self, made, samples, tmp_path):
        other = write_rows(
            tmp_path / "other.jsonl", [{"prompt": "What is red?", "response": "So."}]
        )
        with pytest.raises(StoreError, match=r"was made with data \w{12}, this run as"):
            recipe(made, str(other), tmp_path).run()

    def test_a_set_without_its_settings(self, made, samples, tmp_path):
        (tmp_path / "out/paraphrased.settings.json").unlink()
        with pytest.raises(StoreError, match=r"but not paraphrased.settings.json, whi"):
            recipe(made, samples, tmp_path).run()

    def test_foreign_originals_in_the_folder(self, samples, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/originals.jsonl").write_text("{}\n")
        with (
            serving(rewords) as served,
            pytest.raises(StoreError, match="originals lie there already, and no par"),
        ):
            recipe(served, samples, tmp_path).run()
        assert served.asked == []

    def test_another_command_at_work(self, samples, tmp_path):
        from driftmap.recipes.steps.dataset.sets import alone

        with (
            serving(rewords) as served,
            alone(tmp_path / "out"),
            pytest.raises(StoreError, match="another command makes versions here"),
        ):
            recipe(served, samples, tmp_path).run()

    def test_rows_of_token_ids(self, tmp_path):
        file = write_rows(
            tmp_path / "ids.jsonl", [{"input_ids": [1, 2], "labels": [-100, 2]}]
        )
        with (
            serving(rewords) as served,
            pytest.raises(DataError, match="1 rows hold token ids and no text"),
        ):
            recipe(served, str(file), tmp_path).run()

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"num_versions": 0}, "--num-versions is 0; give at least 1"),
            ({"price_in": 1.0}, "--price-in and --price-out go together"),
            (
                {"num_versions": 2, "temperature": 0},
                "--num-versions 2 at --temperature 0 are one paraphrase repeated",
            ),
        ],
    )
    def test_options_that_mean_nothing(self, options, said):
        with pytest.raises(UsageError, match=said):
            RewordingOptions(**options)


def test_by_command(samples, tmp_path, capsys):
    with serving(rewords) as served:
        code = main(
            [
                "data", "paraphrase", f"--data={samples}", "--endpoint-model=m",
                f"--endpoint={served.address}", f"--out={tmp_path / 'made'}",
            ]
        )  # fmt: skip
    assert code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "made/paraphrased.jsonl")
    assert main(["data", "paraphrase", f"--data={samples}", "--endpoint-model=m",
                 f"--out={tmp_path / 'new'}"]) == 2  # fmt: skip
    said = " ".join(capsys.readouterr().err.split())
    assert "no server is named; give its address with --endpoint" in said
