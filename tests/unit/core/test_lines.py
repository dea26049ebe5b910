from driftmap.core.lines import Lines
from driftmap.core.progress import listening, overheard_by, phase, progress, say


def heard(pause=15.0):
    lines = []
    return lines, Lines(lines.append, pause)


def test_a_phase_says_two_lines_and_short_work_none():
    lines, listener = heard()
    with listening(listener), phase("step groups"):
        for _ in range(3):
            with progress("batches", 2) as bar:
                bar.advance(2)
        say("one thing")
    assert lines[:2] == ["step groups ...", "one thing"]
    assert lines[2].startswith("step groups took 0.0 s")
    assert len(lines) == 3


def test_long_work_says_how_far_it_is_and_what_it_took():
    lines, listener = heard(pause=0.0)
    with listening(listener), progress("fine-tune", 3) as bar:
        for _ in range(3):
            bar.advance(1, "loss 2.5")
    assert [line.partition(",")[0] for line in lines[:2]] == [
        "fine-tune: 1 of 3",
        "fine-tune: 2 of 3",
    ]
    assert lines[0].endswith(" left, loss 2.5")
    assert lines[2].startswith("fine-tune took ")
    assert len(lines) == 3


def test_a_note_before_anything_is_done_says_no_time_left():
    lines, listener = heard(pause=0.0)
    with listening(listener), progress("shards", 2) as bar:
        bar.advance(0, "worker 1: 3 of 8")
        bar.advance(1)
    assert lines[0].startswith("shards: 1 of 2, ")
    assert len(lines) == 2


def test_two_hear_the_same_and_one_stops_listening():
    first, listener = heard()
    second, other = heard()
    with listening(listener):
        with overheard_by(other), phase("a"):
            say("both")
        say("one")
    assert first[:2] == second[:2] == ["a ...", "both"]
    assert first[3:] == ["one"]
    assert len(second) == 3
