import io
import os
import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from driftmap.cli.progress import Bars, Work, fitted, listener_for
from driftmap.core.lines import Lines
from driftmap.core.progress import listening, phase, progress, say
from terminals import lines_of, on_terminal


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(width=100):
    return Console(file=Terminal(), force_terminal=True, width=width)


def test_a_pipe_gets_lines_and_a_terminal_bars(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(listener_for(terminal()), Bars)
    pipe = Console(file=io.StringIO())
    listener = listener_for(pipe)
    assert isinstance(listener, Lines)
    listener.said("a [b] " + "long " * 40)
    assert pipe.file.getvalue() == "a [b] " + "long " * 40 + "\n"


def test_neither_colours_in_a_pipe_nor_a_dumb_terminal_get_bars(monkeypatch):
    coloured = Console(file=io.StringIO(), force_terminal=True)
    assert isinstance(listener_for(coloured), Lines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(listener_for(terminal()), Lines)


def test_bars_show_amount_loss_and_time_left_and_leave_one_line_a_phase():
    console = terminal()
    with listening(Bars(console)):
        with phase("step tune-seed-0"), progress("fine-tune", 4) as bar:
            bar.advance(1, "loss [2.5]")
            bar.advance(1, "loss 2.25")
            say("one thing")
            time.sleep(0.3)  # a few of the display's own turns
        with progress("reading", 20_000) as bar:
            bar.advance(10_000)
            time.sleep(0.3)
    written = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
    for shown in ("fine-tune", "2 of 4", "loss 2.25", " left", "50 %", "one thing"):
        assert shown in written
    assert re.search(r"step tune-seed-0 took 0\.\d s\n", written)
    assert "fine-tune took" not in written


def test_bars_come_back_after_an_error_and_claim_nothing_of_it():
    console = terminal()
    bars = Bars(console)
    with listening(bars):
        try:
            with phase("a"), progress("b", 1):
                raise ValueError
        except ValueError:
            pass
        with progress("c", 1) as bar:
            bar.advance()
    assert "c" in console.file.getvalue()
    assert "took" not in console.file.getvalue()


@given(
    what=st.text(min_size=1), note=st.text(), total=st.integers(0, 10**6),
    share=st.floats(0, 1), width=st.integers(1, 120), seconds=st.floats(0, 10**6),
    in_ascii=st.booleans(),
)  # fmt: skip
def test_a_line_never_exceeds_its_width(**drawn):
    work = Work(drawn["what"], drawn["total"])
    work.done, work.note = int(drawn["share"] * drawn["total"]), drawn["note"]
    now = work.began + drawn["seconds"]
    line = fitted(work, drawn["width"], now, in_ascii=drawn["in_ascii"]).plain
    assert cell_len(line) <= drawn["width"]
    assert len(line.splitlines()) <= 1


def test_what_a_line_leaves_out_first():
    work = Work("score on\nbehaviour", 8)
    work.done, work.note, now = 2, "loss 1.5", work.began + 3600
    shown = [fitted(work, width, now).plain for width in (80, 62, 50, 30, 20, 12, 2)]
    assert shown == [
        "score on behaviour ━━━━━─────────────── 2 of 8 1:00:00 3:00:00 left loss 1.5",
        "score on behaviour 2 of 8 1:00:00 3:00:00 left loss 1.5",
        "score on behaviour 2 of 8 1:00:00 3:00:00 left",
        "score on behavio… 3:00:00 left",
        "score… 3:00:00 left",
        "score on be…",
        "s…",
    ]
    assert fitted(work, 80, now, in_ascii=True).plain.startswith(
        "score on behaviour =====---------------"
    )
    assert fitted(Work("a phase", 0), 80, time.monotonic()).plain == "a phase 0:00"


WORK = """
import sys, time
from rich.console import Console
from driftmap.cli.progress import listener_for
from driftmap.cli.streams import sturdy_streams
from driftmap.core.progress import listening, phase, progress, say
with sturdy_streams(), listening(listener_for(Console(stderr=True))):
    with phase("step tune-seed-0"), progress("fine-tune at a length", 8) as bar:
        for number in range(8):
            bar.advance(1, f"loss {number} ä…")
            time.sleep(0.15)
        say("one thing worth knowing, longer than the terminal is wide")
"""
SAID = r"one thing .* is wide|step tune-seed-0 took 1\.\d s"
WORKING = [sys.executable, "-c", WORK]


@pytest.mark.slow
@pytest.mark.parametrize("widths", [[1], [20], [80], [70, 30, 12, 50, 4]])
def test_no_bar_wraps_on_a_narrow_or_changing_terminal(widths):
    lines = lines_of(on_terminal(WORKING, widths))
    told = [line for line in lines if re.fullmatch(SAID, line)]
    assert len(told) == 2
    bars = [line for line in lines if line not in told]
    assert bars
    assert max(map(cell_len, bars)) <= max(max(widths) - 1, 1)


@pytest.mark.slow
def test_a_terminal_without_colours_or_letters():
    bare = on_terminal(WORKING, [80], NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*m", bare.replace("\x1b[0m", ""))
    assert "━" in bare
    ascii_only = on_terminal(WORKING, [80], PYTHONIOENCODING="ascii")
    assert ascii_only.isascii()
    assert "==" in ascii_only
    dumb = on_terminal(WORKING, [80], TERM="dumb")
    assert "\x1b" not in dumb
    assert lines_of(dumb)[0] == "step tune-seed-0 ..."


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_pipe_gets_plain_lines_in_any_encoding(encoding):
    done = subprocess.run(
        [sys.executable, "-c", WORK.replace("one thing", "one ü 日 thing")],
        capture_output=True, check=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "FORCE_COLOR": "1"},
    )  # fmt: skip
    first, said, last = done.stderr.decode(encoding).splitlines()
    assert first == "step tune-seed-0 ..."
    shown = {"utf-8": "ü 日", "ascii": r"\xfc \u65e5", "latin-1": r"ü \u65e5"}[encoding]
    assert said.startswith(f"one {shown} thing worth knowing")
    assert last.startswith("step tune-seed-0 took")
