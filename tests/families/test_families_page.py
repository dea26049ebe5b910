"""Does the page of the families say how each of them is read, and what is refused?"""

import re
from pathlib import Path

import pytest
from torch import nn

from driftmap.core.errors import ModelError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight
from tiny_experts import tiny_moe
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family

PAGE = Path(__file__).parents[2] / "docs/reference/families.md"
KINDS = {
    "falcon": "falcon, one key-value head",
    "falcon_grouped": "falcon, new architecture",
    "falcon_by_head": "falcon, one key-value head each",
    "gpt_bigcode": "gpt_bigcode, one key-value head",
    "gpt_bigcode_by_head": "gpt_bigcode, one key-value head each",
    "gemma3": "gemma3_text",
}


def row_of(name):
    """A family's row of the table, from its own layout."""
    layout = find_layout(tiny_family(name))
    maps = {}
    for site in layout.sites:
        if site.layer == 0:
            maps.setdefault(site.path, []).append(site)
    words = []
    for sites in maps.values():
        by_head = any(site.split and site.split.count > 1 for site in sites)
        words.append("+".join(site.part for site in sites) + by_head * " by head")
    stored = {True: "in, out", False: "out, in"}[layout.sites[0].transposed]
    kind = KINDS.get(name, name)
    assert kind.startswith(layout.family), (name, layout.family)
    return f"| {kind} | {', '.join(words)} | {stored} |"


def test_the_table_is_that_of_the_proved_families():
    lines = PAGE.read_text().splitlines()
    start = lines.index("|---|---|---|") + 1
    found = lines[start : lines.index("", start)]
    wanted = [row_of(name) for name in sorted(FAMILY_NAMES + ROW_NAMES)]
    assert found == wanted, "\n".join(wanted)


def test_what_is_said_of_adapters_on_experts_is_on_the_page():
    model = tiny_moe("olmoe")
    router = next(s for s in find_layout(model).sites if s.part == "router")
    wrapped = nn.Module()
    wrapped.base_layer = model.get_submodule(router.path)
    model.set_submodule(router.path, wrapped)
    with pytest.raises(ModelError) as refusal:
        effective_weight(model, router)
    words = str(refusal.value).partition(": ")[2]
    assert words in " ".join(PAGE.read_text().split())


@pytest.mark.parametrize("test", ["test_every_part.py", "test_every_tuning.py"])
def test_the_page_names_the_tests_that_prove_it(test):
    assert re.search(rf"\btests/families/{re.escape(test)}\b", PAGE.read_text())
    assert (Path(__file__).parent / test).is_file()
