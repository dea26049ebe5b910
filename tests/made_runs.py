"""Run folders as driftmap leaves them, without any work behind them."""

from driftmap.recipes.steps.logbook import logged
from driftmap.store.run_dir import RunDir

REPORT = """\
What does it do?
================

Model `tiny` does it.

1. The answer
-------------

[It does it]
In 80 % (70 to 90) of 40 cases it does it. Intact it is
never done.

[A doubt]
Few seeds.
"""


def made_run(folder, kind="ablate", *, text=REPORT, error=None, **settings):
    """A run with a report; with an error, one that was stopped at its second step."""
    recipe = {"source": {"model": "models/tiny"}, "seed": 0, **settings}

    def report(into):
        (into / "report.html").write_text(f"<p>{folder.name}</p>")
        (into / "report.txt").write_text(text)
        (into / "figures").mkdir()
        (into / "figures" / "one.png").write_bytes(b"png")

    def stop(into):
        raise error

    with RunDir.open(folder, recipe, kind) as run:
        try:
            with logged(folder, kind):
                run.step("measure", {}, lambda into: (into / "a.json").write_text("{}"))
                run.step("report", {}, stop if error else report)
        except BaseException as raised:
            if raised is not error:
                raise
    return folder
