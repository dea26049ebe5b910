"""Does a name alone tell what the live model tells, in every family?"""

from dataclasses import replace

import pytest

from driftmap.families.tensor_names import place_of_name
from driftmap.families.tensors import find_tensors
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family


@pytest.mark.parametrize("name", [*FAMILY_NAMES, *ROW_NAMES])
def test_places_by_name_are_those_of_the_model(name):
    places = [p for rule in find_tensors(tiny_family(name)) for p in rule.places]
    assert places
    by_name = [place_of_name(place.name) for place in places]
    assert by_name == [replace(place, num_weights=None) for place in places]
