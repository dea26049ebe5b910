"""Which files is a report made of, whatever it reports?"""

from pathlib import Path
from typing import cast

from driftmap.render.html import html_of
from driftmap.render.page import Page, figures_of
from driftmap.render.pictures import save_pictures
from driftmap.render.text import text_of
from driftmap.store.files import write_text
from driftmap.store.provenance import read_provenance

REPORT = "report.html"


def write_report(folder: Path, page: Page) -> None:
    """Write `report.html`, `report.txt` and the page's figures as pictures."""
    write_text(folder / REPORT, html_of(page))
    write_text(folder / "report.txt", text_of(page))
    pictures = folder / "figures"
    pictures.mkdir()
    save_pictures(figures_of(page), pictures)


def flat_settings(settings: object) -> dict[str, object]:
    """Settings of a recipe by option, out of their blocks."""
    flat: dict[str, object] = {}
    for name, value in cast(dict[str, object], settings).items():
        if isinstance(value, dict):
            flat |= flat_settings(value)
        else:
            flat[name] = value
    return flat


def versions_of(root: Path) -> dict[str, str]:
    """Package -> version of what a run was last worked on with."""
    environments = read_provenance(root / "provenance.json")["environments"]
    last = cast(list[dict[str, object]], environments)[-1]
    return cast(dict[str, str], last["versions"]) | {"python": str(last["python"])}
