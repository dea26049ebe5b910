"""Which files is a report made of, whatever it reports?"""

from pathlib import Path

from driftmap.render.html import html_of
from driftmap.render.page import Page, figures_of
from driftmap.render.pictures import save_pictures
from driftmap.render.text import text_of
from driftmap.store.files import write_text

REPORT = "report.html"


def write_report(folder: Path, page: Page) -> None:
    """Write `report.html`, `report.txt` and the page's figures as pictures."""
    write_text(folder / REPORT, html_of(page))
    write_text(folder / "report.txt", text_of(page))
    pictures = folder / "figures"
    pictures.mkdir()
    save_pictures(figures_of(page), pictures)
