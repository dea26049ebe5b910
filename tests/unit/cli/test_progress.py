import io
import re
import time

from rich.console import Console

from driftmap.cli.progress import Bars, listener_for
from driftmap.core.lines import Lines
from driftmap.core.progress import listening, phase, progress, say


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def test_a_pipe_gets_lines_and_a_terminal_bars():
    assert isinstance(listener_for(terminal()), Bars)
    pipe = Console(file=io.StringIO())
    listener = listener_for(pipe)
    assert isinstance(listener, Lines)
    listener.said("a [b] " + "long " * 40)
    assert pipe.file.getvalue() == "a [b] " + "long " * 40 + "\n"


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


def test_bars_come_back_after_an_error():
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
