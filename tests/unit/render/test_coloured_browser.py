"""Are coloured texts read with a mouse and with keys, in a browser?

Run with `pytest -m slow tests/unit/render` where Chromium is installed.
"""

import re
import shutil
import subprocess

import pytest

from driftmap.render.coloured import (
    ColouredPiece,
    ColouredText,
    ColouredTexts,
    quantile_scale,
)
from driftmap.render.html import html_of
from driftmap.render.page import Page, Section

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

WALK = """<script>
setTimeout(function () {
  var told = [];
  var pieces = document.querySelectorAll(".pieces .piece");
  function key(name) {
    document.activeElement.dispatchEvent(
      new KeyboardEvent("keydown", { key: name, bubbles: true }));
    var note = document.getElementById("piece-note");
    var box = note.getBoundingClientRect();
    told.push([document.activeElement.textContent, note.hidden ? "" : note.textContent,
               box.left >= 0 && box.right <= innerWidth].join("|"));
  }
  pieces[0].focus();
  ["ArrowRight", "End", "ArrowRight", "Home", "Escape"].forEach(key);
  document.activeElement.blur();
  pieces[1].dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
  told.push(document.getElementById("piece-note").textContent);
  var wide = Array.from(document.querySelectorAll("body *")).filter(function (node) {
    return node.getBoundingClientRect().right > innerWidth + 1;
  });
  document.body.dataset.told = told.join(";");
  document.body.dataset.wide = wide.length;
  var stops = document.querySelectorAll(".piece[tabindex='0']");
  document.body.dataset.stops = stops.length;
}, 500);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")
def test_arrow_keys_and_the_mouse_show_what_is_known(tmp_path):
    words = ["one", " two", " three" * 30, "\n", " five"]
    text = ColouredText(
        title="t",
        note="",
        pieces=[
            ColouredPiece(text=word, value=float(place), note=f"note {place}")
            for place, word in enumerate(words)
        ],
    )
    scale = quantile_scale("n", range(5), low="few", high="many")
    node = ColouredTexts(
        caption="", scale=scale, texts=[text, text], marked="what is meant " * 9
    )
    section = Section(anchor="a", title="s", nodes=[node])
    html = html_of(Page(title="t", lead="l", sections=[section], footer="f"))
    file = tmp_path / "page.html"
    file.write_text(html.replace("</body>", WALK + "</body>"))
    shown = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--window-size=500,800", "--virtual-time-budget=3000",
            f"--user-data-dir={tmp_path / 'profile'}", f"file://{file}",
        ],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    told = re.search(r'data-told="([^"]*)"', shown)
    assert told is not None
    assert told.group(1).split(";") == [
        " two|note 1|true",
        " five|note 4|true",
        " five|note 4|true",
        "one|note 0|true",
        "one||true",
        "note 1",
    ]
    assert 'data-wide="0"' in shown
    assert 'data-stops="2"' in shown
