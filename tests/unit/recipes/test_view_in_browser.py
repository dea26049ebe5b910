"""Does a browser lay runs side by side, and show their reports, in silence?

Run with `pytest -m slow tests/unit/recipes` where Chromium is installed.
"""

import re
import shutil
import subprocess
import threading
from dataclasses import replace
from html import unescape

import pytest

from driftmap.recipes.steps.viewing.serving import RunServer
from driftmap.recipes.steps.viewing.showing import look
from made_runs import made_run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason="needs Chromium: apt-get install chromium"
    ),
]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--dump-dom",
    "--virtual-time-budget=6000", "--enable-logging=stderr", "--v=0",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip

TOLD = r'data-(first|second|frames)="([^"]*)"'

USE = """<script>
setTimeout(function () {
  var node = document.querySelector(".columns");
  var boxes = node.querySelectorAll(".choices input");
  var shown = function (list) {
    return Array.from(list).filter(function (one) { return one.checkVisibility(); });
  };
  var tell = function (name) {
    var rows = shown(node.querySelectorAll("tbody th"));
    document.body.dataset[name] = rows.map(function (one) { return one.textContent; })
      + "|" + shown(node.querySelectorAll("thead th a")).length;
  };
  tell("first");
  boxes[2].click();
  boxes[0].click();
  tell("second");
  boxes[boxes.length - 1].click();
  setTimeout(function () {
    document.body.dataset.frames = node.querySelectorAll("iframe").length;
  }, 1500);
}, 500);
</script>"""


def test_columns_are_chosen_and_reports_shown(tmp_path):
    for name, share, rank in (("a", 0.1, 8), ("b", 0.2, 8), ("c", 0.2, 9)):
        made_run(tmp_path / name, share=share, rank=rank)

    def used():
        shown = look([tmp_path])
        return replace(shown, index=shown.index.replace("</body>", f"{USE}</body>"))

    with RunServer(used, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        done = subprocess.run(
            [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / '.own'}", server.address],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        server.shutdown()
        thread.join()
    told = {
        name: unescape(value)
        for name, value in re.findall(
            r'data-(first|second|frames)="([^"]*)"', done.stdout
        )
    }
    always = "what it found,its numbers,state,model"
    kept = {told["first"], told["second"]}
    # Runs of one second stand in the order of their names, the last first.
    assert kept == {f"{always},rank|2", f"{always},share|2"}
    assert told["frames"] == "2"
    assert "CONSOLE" not in done.stderr, done.stderr
