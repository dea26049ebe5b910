import json
import sys
import textwrap
from pathlib import Path

import pytest

from driftmap.core.errors import DataError
from driftmap.load import python_rows
from driftmap.load.samples import read_samples

ROWS = [{"prompt": f"{n}?", "response": "So."} for n in range(5)]


@pytest.fixture
def written(tmp_path):
    def write(text, name="mine.py", function="rows"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return f"{file}:{function}"

    return write


def refused(source):
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(DataError) as caught:
        read_samples(source)
    assert sys.path == path
    assert "_driftmap_own_code" not in set(sys.modules) - modules
    said = str(caught.value)
    assert said.isprintable()
    return said


class TestRows:
    def test_a_generator(self, written):
        found = read_samples(written(f"def rows():\n    yield from {ROWS}\n"))
        assert [s.id for s in found.samples] == [f"mine.rows:{n}" for n in range(5)]
        assert found.samples[3].prompt == "3?"
        assert found.shape == "prompt/response"

    @pytest.mark.parametrize(
        "body", [f"return {ROWS}", f"return iter({ROWS})", f"return tuple({ROWS})"]
    )
    def test_whatever_gives_rows_one_by_one(self, written, body):
        assert len(read_samples(written(f"def rows():\n    {body}\n")).samples) == 5

    def test_defaults_need_no_arguments(self, written):
        text = f"def rows(count=2, *more, **rest):\n    return {ROWS}[:count]\n"
        assert len(read_samples(written(text)).samples) == 2

    def test_rows_may_be_drawn(self, written):
        source = written(f"def rows():\n    return {ROWS}\n")
        assert len(read_samples(source, num_samples=2).samples) == 2

    def test_turns_may_be_tuples_and_one_mapping_may_be_filled_again(self, written):
        text = """
        def rows():
            row = {}
            for text in ("a", "b"):
                row["messages"] = ({"role": "user", "content": text},)
                yield row
        """
        assert [s.prompt for s in read_samples(written(text)).samples] == ["a", "b"]

    def test_the_hash_is_of_the_rows(self, written):
        first = read_samples(written(f"def rows():\n    return {ROWS}\n"))
        second = read_samples(
            written(f"# another file\ndef rows():\n    yield from {ROWS}\n")
        )
        other = read_samples(written(f"def rows():\n    return {ROWS[:4]}\n"))
        turned = [dict(reversed(row.items())) for row in ROWS]
        third = read_samples(written(f"def rows():\n    return {turned}\n"))
        assert first.sha256 == second.sha256 == third.sha256 != other.sha256
        assert first.samples == second.samples == third.samples


class TestTheFile:
    def test_it_is_not_run_unless_a_function_is_named(self, written, tmp_path):
        written(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
        said = refused(str(tmp_path / "mine.py"))
        assert "name the function that yields the rows, as in" in said
        assert not (tmp_path / "ran").exists()

    def test_a_file_of_that_very_name_is_no_function(self, written, tmp_path):
        (tmp_path / "a.py:rows").write_text("x")
        assert "files ending in .py:rows are not read" in refused(
            str(tmp_path / "a.py:rows")
        )

    def test_modules_beside_it_are_found_and_forgotten(self, written):
        text = "from beside import ROWS\ndef rows():\n    from pack.late import more\n"
        text += "    yield from ROWS\n    yield from more\n"
        for folder, count in (("one", 1), ("two", 2)):
            written(f"ROWS = {ROWS[:count]}\n", f"{folder}/beside.py")
            written(f"more = {ROWS[:count]}\n", f"{folder}/pack/late.py")
            path = list(sys.path)
            found = read_samples(written(text, f"{folder}/mine.py"))
            assert len(found.samples) == 2 * count
            assert sys.path == path
            assert not {"beside", "pack", "pack.late"} & set(sys.modules)

    def test_it_neither_moves_the_command_nor_speaks_for_it(
        self, written, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.chdir(tmp_path)
        text = "import os\nos.chdir('/')\ndef rows():\n    print('hi')\n"
        read_samples(written(f"{text}    return {ROWS}\n"))
        assert Path.cwd() == tmp_path
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == "hi\n"

    def test_it_has_a_module_of_its_own(self, written):
        text = """
        import sys
        from dataclasses import dataclass

        @dataclass
        class Item:
            text: str

        def rows():
            assert sys.modules[__name__].Item is Item
            assert __name__ != "__main__"
            yield {"prompt": Item("Why?").text, "file": __file__}
        """
        assert read_samples(written(text)).samples[0].prompt == "Why?"

    def test_an_errors_own_sentence_is_kept(self, written):
        text = """
        from driftmap.load.samples import read_samples
        def rows():
            read_samples("nowhere/a.csv")
        """
        assert refused(written(text)).startswith("nowhere/a.csv: there is no such file")

    def test_an_interruption_passes(self, written):
        with pytest.raises(KeyboardInterrupt):
            read_samples(written("def rows():\n    raise KeyboardInterrupt\n"))


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("def rows(:\n", "mine.py: line 1 is not Python ("),
            ("\ufffe\x00", "mine.py: "),
            ("x = 1\nraise OSError('no\\nway')\n",
             "mine.py: line 2: running the file raised OSError (no way); mend"),
            ("import nothing_of_this_name\n", "line 1: running the file raised Mod"),
            ("def other():\n  pass\n",
             "mine.py:rows: the file has no function `rows`; it has `other`"),
            ("from json import dumps\n", "has no function `rows`; it has none"),
            ("rows = [1]\n", "mine.py:rows: it is a list, not a function; write `def"),
            ("def rows(path, n=1): yield\n",
             "mine.py:rows: it needs arguments (`path`), and none are given; give"),
            ("def rows(*, path): yield\n", "it needs arguments (`path`)"),
            ("def rows():\n  x = {}\n  return x['y']\n",
             "mine.py: line 3: the function `rows` raised KeyError ('y'); mend"),
            ("import sys\ndef rows():\n  sys.exit(3)\n",
             "line 3: the function `rows` raised SystemExit (3)"),
            ("def rows():\n  yield {'prompt': 'a'}\n  raise ValueError\n",
             "line 3: the function `rows`, at row 1, raised ValueError; mend the file"),
            ("import json\ndef rows():\n  yield {'prompt': 'a'}\n  json.loads('')\n",
             "line 4: the function `rows`, at row 1, raised JSONDecodeError (Exp"),
            ("def rows(): pass\n", "mine.py:rows: it gives nothing (None), not rows"),
            ("def rows(): return 3\n", "it gives an int, not rows; yield one mapping"),
            ("def rows(): return 'abc'\n", "it gives a str, not rows"),
            ("def rows(): return {'prompt': 'a'}\n", "it gives a dict, not rows"),
            ("async def rows():\n  yield {}\n", "it is an `async def`, which nothing"),
            ("async def rows():\n  return []\n", "write `def rows():` and yield the"),
            ("class Odd(Exception):\n  def __str__(self): raise OSError\n"
             "def rows():\n  raise Odd\n", "raised Odd; mend the file"),
            ("def rows(): return []\n", "mine.py:rows: it yields no rows; is"),
            ("def rows():\n  yield {'prompt': 'a'}\n  yield 'b'\n",
             "mine.rows:1: it is a str, not a row with columns; yield {"),
            ("def rows(): yield {1: 'a'}\n", "mine.rows:0: it is a mapping with"),
            ("def rows(): yield {'prompt': {1, 2}}\n",
             "mine.rows:0: a column holds what no file could (Object of type set is"),
            ("def rows():\n  r = {'prompt': 'a'}\n  r['x'] = r\n  yield r\n",
             "mine.rows:0: a column holds what no file could (Circular reference"),
            ("def rows(): yield {'colour': 'a'}\n", "its columns (`colour`) fit no"),
            ("def rows(): yield {'prompt': 3}\n", "mine.rows:0: `prompt` holds a num"),
            ("def rows(): yield {'prompt': '\\ud83d'}\n",
             "mine.rows:0: `prompt` holds half a character (\\ud83d) at character 0;"),
        ],
    )  # fmt: skip
    def test_in_one_sentence(self, written, text, said):
        assert said in refused(written(text))

    def test_no_such_file(self):
        assert refused("nowhere/mine.py:rows").startswith(
            "nowhere/mine.py: there is no such file; check the path before the colon"
        )

    def test_a_folder(self, tmp_path):
        (tmp_path / "mine.py").mkdir()
        assert "mine.py: it cannot be read (" in refused(f"{tmp_path}/mine.py:rows")

    def test_a_mistake_beside_it_is_placed(self, written):
        written("x = = 1\n", "beside.py")
        said = refused(written("import beside\n"))
        assert "line 1 of beside.py, which it imports, is not Python (" in said

    def test_one_without_end(self, written, monkeypatch):
        monkeypatch.setattr(python_rows, "MOST_ROWS", 7)
        endless = "def rows():\n    while True:\n        yield {'prompt': 'a'}\n"
        said = refused(written(endless))
        assert said.endswith(
            "mine.py:rows: it still yields after 7 rows; let it end, or write so many "
            "rows into a file"
        )
        full = "def rows():\n    for _ in range(7):\n        yield {'prompt': 'a'}\n"
        assert len(read_samples(written(full)).samples) == 7


SAMPLES = """
from driftmap.results.samples import Message, Sample, TokenRow

def told(name, text="Why?", **more):
    turns = (Message(role="user", content=text),)
    more = {"original_id": name, "messages": turns} | more
    return Sample(id=name, **more)

def rows():
"""


class TestSamples:
    def read(self, written, body):
        return read_samples(written(SAMPLES + textwrap.indent(body, "    ")))

    def test_they_get_ids_like_rows(self, written):
        body = 'yield told("x")\nyield told("y", "So?", label="odd")'
        found = self.read(written, body)
        assert [s.id for s in found.samples] == ["mine.rows:0", "mine.rows:1"]
        assert [s.original_id for s in found.samples] == ["mine.rows:0", "mine.rows:1"]
        assert found.samples[1].label == "odd"
        assert found.shape == "samples"
        assert found.sha256 == self.read(written, body).sha256

    def test_the_hash_follows_what_they_say(self, written):
        first = self.read(written, 'yield told("x")')
        assert first.sha256 == self.read(written, 'yield told("other")').sha256
        assert first.sha256 != self.read(written, 'yield told("x", "No?")').sha256

    def test_a_version_stays_with_its_original(self, written):
        body = 'yield told("y", original_id="x")\nyield told("x")'
        assert [s.original_id for s in self.read(written, body).samples] == [
            "mine.rows:1",
            "mine.rows:1",
        ]

    def test_tokens(self, written):
        body = (
            "row = TokenRow(token_ids=(4, 5), labels=(-100, 5))\n"
            'yield told("x", messages=(), tokens=row)'
        )
        (sample,) = self.read(written, body).samples
        assert sample.tokens is not None
        assert sample.tokens.token_ids == (4, 5)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ('yield told("x")\nyield {"prompt": "a"}',
             "mine.rows:1: rows and `Sample`s come in turn; yield one kind only"),
            ('yield {"prompt": "a"}\nyield told("x")', "1: rows and `Sample`s"),
            ('yield told("x", original_id="y")',
             "mine.rows:0: it is a version of `y`, which is no sample's id"),
            ('yield told("x", messages=())', "has neither messages nor tokens"),
            ('yield told("x", "\\ud83d")', "mine.rows:0: turn 0 holds half a"),
            ('yield told("x", messages=(Message(role="text", content="a"),) * 2)',
             "mine.rows:0: turn 0 is running text, which stands alone"),
            ('row = TokenRow(token_ids=(4, 5), labels=(5, 5))\n'
             'yield told("x", messages=(), tokens=row)',
             "mine.rows:0: label 5 at token 0 is neither that token's id 4 nor -100"),
        ],
    )  # fmt: skip
    def test_what_no_model_could_read_is_refused(self, written, body, said):
        source = written(SAMPLES + textwrap.indent(body, "    "))
        assert said in refused(source)


def test_they_read_as_the_same_rows_in_a_file(written, tmp_path):
    file = tmp_path / "mine.rows.json"
    file.write_text(json.dumps(ROWS))
    from_file = read_samples(str(file))
    from_code = read_samples(written(f"def rows():\n    return {ROWS}\n"))
    assert from_file.samples == from_code.samples
