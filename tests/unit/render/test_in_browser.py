"""Does a browser draw the whole page, in silence and asking nobody?

Run with `pytest -m slow tests/unit/render` where Chromium is installed.
"""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from driftmap.render.drift_page import drift_page
from driftmap.render.experts_page import experts_page
from driftmap.render.html import html_of
from driftmap.render.logs_page import logs_page
from driftmap.render.page import figures_of
from driftmap.render.similarity_page import similarity_page
from driftmap.render.trace_page import trace_page
from made_expert_studies import study as experts_study
from made_logs import logs_study
from made_similarity import comparison
from made_similarity import study as similarity_study
from made_trace_studies import study as trace_study
from studies import study_of

ROOT = Path(__file__).parents[2]
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
    "--virtual-time-budget=20000", "--enable-logging=stderr", "--v=0",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip

OPEN_ALL = """<script>
document.querySelectorAll("details").forEach(function (node) { node.open = true; });
</script>"""

TELL_ALL = """<script>
setTimeout(function () {
  var wide = Array.from(document.querySelectorAll("body *")).filter(function (node) {
    return !node.closest(".scroll, svg") &&
           node.getBoundingClientRect().right > innerWidth + 1;
  });
  var asked = performance.getEntriesByType("resource").map(function (entry) {
    return entry.name;
  }).filter(function (name) { return !name.startsWith("data:"); });
  document.body.dataset.wide = wide.map(function (node) { return node.tagName; });
  document.body.dataset.asked = asked;
}, 8000);
</script>"""

PICK_LAST = """<script>
setTimeout(function () {
  var figure = document.querySelector(".picker");
  figure.querySelectorAll("select").forEach(function (select) {
    select.selectedIndex = select.options.length - 1;
    select.dispatchEvent(new Event("change"));
  });
}, 3000);
setTimeout(function () {
  var node = document.querySelector(".picker .chart");
  var told = [node.dataset.chart, node.layout.xaxis.title.text,
              node._fullLayout.height + "px" === node.style.height,
              node.closest(".picker").querySelector(".picked").textContent];
  document.body.dataset.told = told.join("; ");
}, 6000);
</script>"""

USE_ALL = f"<script>{(ROOT / 'browser_use.js').read_text(encoding='utf-8')}</script>"

PAGES = {
    "study": lambda: drift_page(study_of(num_layers=6)),
    "logs": lambda: logs_page(logs_study()),
    "experts": lambda: experts_page(experts_study(size=(16, 64, 8), dense=(1,))),
    "traces": lambda: trace_page(trace_study()),
    "similarity": lambda: similarity_page(similarity_study(comparison=comparison())),
}


@pytest.fixture(scope="module", params=PAGES)
def page(request):
    return PAGES[request.param]()


@pytest.fixture(params=[390, 1280])
def seen(request, page, tmp_path):
    """What the browser made of the page with all folds open, and what it said."""
    return browse(page, f"{OPEN_ALL}{TELL_ALL}", request.param, tmp_path)


@pytest.mark.parametrize("width", [390, 1400])
def test_a_page_is_used_by_keys_in_both_colours_and_on_paper(width, tmp_path):
    document, said = browse(trace_page(trace_study()), USE_ALL, width, tmp_path)
    assert "CONSOLE" not in said
    (found,) = re.findall(r'data-told="([^"]+)"', document)
    is_wide = width > 1200
    assert json.loads(unescape(found)) == {
        "folded": is_wide,
        "first": "skip",
        "unreached": 0,
        "unnamed": 0,
        "closed": "true A" if is_wide else "false SUMMARY",
        "nearer": "0.80",
        "whole": "1.00",
        "theme": "dark true",
        "recoloured": True,
        "numbers": True,
        "current": True,
        "paper": "rgb(255, 255, 255) 0",
        "cut": 0,
    }


def browse(page, scripts, width, folder):
    """The document after these scripts, and what was said meanwhile."""
    file = folder / "report.html"
    ending = f"{scripts}</body>"
    file.write_text(html_of(page).replace("</body>", ending), encoding="utf-8")
    done = subprocess.run(
        [
            str(BROWSER), *FLAGS, f"--window-size={width},900",
            f"--user-data-dir={folder / 'profile'}", file.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return done.stdout, done.stderr


def test_every_chart_is_drawn_in_silence(seen, page):
    document, said = seen
    num_figures = len(figures_of(page))
    assert document.count('data-chart="') == num_figures
    assert document.count('class="chart js-plotly-plot"') == num_figures
    assert "CONSOLE" not in said
    assert 'data-asked=""' in document
    assert 'data-wide=""' in document


def test_a_chosen_chart_takes_the_place_of_the_first(tmp_path):
    document, said = browse(trace_page(trace_study()), PICK_LAST, 1280, tmp_path)
    assert (
        'data-told="trace-any/5; layer in the middle of the window; true; Answer Rome: '
        in document
    )
    assert "CONSOLE" not in said
