import re
from typing import get_args

import pytest

from driftmap.cli.main import app
from driftmap.core.places import PARTS
from driftmap.tune.settings import TunedPart

PAGE = re.sub(r"\n {2,}(?=\S)", " ", app.generate_docs())
OPTIONS = [line for line in PAGE.splitlines() if line.startswith("* `--")]


@pytest.mark.parametrize("line", OPTIONS, ids=[o.split("`")[1] for o in OPTIONS])
def test_every_option_says_what_it_is_its_unit_and_its_default(line):
    said = line.split(":", 1)[1]
    assert re.search(r"\([^()]+\)", said), "no unit or kind in parentheses"
    assert re.search(r"\.( |$)", said), "no sentence"
    given = ("**[required]**", "[default:", "by default")
    assert any(word in said for word in given), "no default"


def test_only_parts_that_can_be_tuned_are_offered():
    assert get_args(TunedPart) == ("q", "k", "v", "o", "gate", "up", "down")
    assert set(get_args(TunedPart)) < set(PARTS)
