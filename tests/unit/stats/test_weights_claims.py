"""Sentences about weights carry their numbers, and only tests find anything."""

from dataclasses import replace

import numpy as np

from driftmap.render.compare_weights import weights_section
from driftmap.render.html import html_of
from driftmap.render.page import Page
from driftmap.render.text import text_of
from driftmap.results.statistics import GroupRatio, LeftOut
from driftmap.results.weight_changes import (
    ChangedBank,
    ChangedMatrix,
    LargestUnits,
    LayerPart,
    OtherTensor,
    Spectrum,
    WeightChanges,
)
from driftmap.stats.claims.weights import layers_of_half, weights_claims


def units(num=6):
    return LargestUnits(
        index=np.array([4, 1]),
        lengths=np.array([3.0, 1.5]),
        sizes=np.array([1.0, 1.0]),
        num_units=num,
        typical=1.5,
        chance=1.75,
    )


def matrix(key="blocks.2.up", *, layer=2, part="up", **other):
    spectrum = Spectrum(
        values=np.array([3.0, 4.0])[::-1],
        num_directions=2,
        stable_rank=25 / 16,
        effective_rank=1.98,
        half=1,
        chance_values=np.array([3.6, 3.4]),
        chance_effective_rank=2.0,
        chance_half=1,
        edge=2.5,
    )
    held = {"length": 5.0, "size": 50.0, "cosine_distance": 0.01, "expert": None}
    return ChangedMatrix(
        key=key, layer=layer, part=part, num_rows=6, num_columns=4, made="factors",
        spectrum=spectrum, rows=units(), columns=units(4), **(held | other),
    )  # fmt: skip


def cells(lengths, size=50.0):
    return tuple(
        LayerPart(
            layer=layer,
            part="up",
            num_matrices=1,
            num_moved=int(length > 0),
            num_weights=24,
            length=length,
            size=size,
        )
        for layer, length in enumerate(lengths)
    )


def changes(**other):
    held = {
        "is_adapter": True, "num_tensors": 20, "num_equal": 19, "num_weights": 1000,
        "num_open": 24, "cells": cells([0.0, 0.0, 5.0]), "matrices": (matrix(),),
        "others": (), "banks": (), "groups": (), "cautions": (),
    }  # fmt: skip
    return WeightChanges(**(held | other))


NOTHING = {"matrices": (), "num_equal": 20, "num_open": 0, "cells": cells([0.0])}


def group(p=0.01, rho=2.0, name="difference", **other):
    return GroupRatio(
        group=name, metric="absolute", layer=None, part=None, thetas=(0.7,), rho=rho,
        log_bias=0.0, interval90=None, interval95=None, bootstrap95=None, p_value=p,
        p_adjusted=p, num_permutations=999, is_primary=False, num_matrices=3,
        num_weights=120, null=None,
        left_out=LeftOut(num_matrices=0, num_bins=0, num_weights=0, num_immobile=0),
    )  # fmt: skip


def said(found):
    return [claim.says for claim in weights_claims(found)]


def drawn(found):
    page = Page(title="t", lead="l", sections=[weights_section(found)], footer="f")
    return " ".join(text_of(page).split())


def test_a_change_of_one_layer_is_said_to_be_confined_to_it():
    assert said(changes())[:2] == [
        "1 of 20 tensors differ, with 2.4 % of the entries; the change is confined to "
        "up of layer 2 of 3; embeddings, norms, biases and the head are as they were.",
        "|dW| over all matrices is 5, 5.77 % of |W|; half of its square lies in 1 of 3 "
        "layers (layer 2). How far weights moved does not tell how much that matters.",
    ]
    assert weights_claims(changes())[1].layers == (2,)
    assert {claim.standing for claim in weights_claims(changes())} == {"context"}


def test_what_changes_nothing_says_so_and_draws_nothing():
    (claim,) = weights_claims(changes(**NOTHING))
    assert claim.says == "Nothing moved: all 20 tensors are equal in every entry."
    assert claim.standing == "not-found"
    assert "Figure" not in drawn(changes(**NOTHING))


def test_half_of_the_square_lies_in_the_fewest_layers():
    assert layers_of_half(changes(cells=cells([1.0, 3.0, 0.0, 2.9]))) == (1, 3)
    assert layers_of_half(changes(cells=cells([1.0, 4.0]))) == (1,)
    assert layers_of_half(changes(cells=cells([0.0, 0.0]))) == ()


def test_other_tensors_are_no_longer_as_they_were():
    head = OtherTensor(
        name="lm_head.weight", part="head", layer=None, found="changed",
        num_weights=80, length=2.0, size=4.0,
    )  # fmt: skip
    first = said(changes(others=(head,)))[0]
    assert "confined to up of layer 2 of 3 and the head; embeddings, norms" in first
    assert "the head are as" not in first
    assert "`lm_head.weight` head differs 2 0.5" in drawn(changes(others=(head,)))


def test_without_a_base_nothing_is_said_of_sizes():
    found = changes(
        num_tensors=0, num_equal=0, num_weights=0, num_open=0,
        cells=cells([0.0, 5.0], None), matrices=(matrix(size=None),),
    )  # fmt: skip
    assert said(found)[0] == "The change is confined to up of layer 2."
    assert "% of |W|" not in said(found)[1]
    assert "|dW| / |W| 0" not in drawn(found)


def test_what_cannot_be_measured_is_neither_nothing_nor_outside_the_change():
    found = changes(
        num_tensors=0, num_equal=0, num_weights=0, num_open=0, num_unmeasured=2,
        cells=cells([5.0], None), matrices=(matrix(size=None),),
    )  # fmt: skip
    assert said(found)[0] == (
        "What could be measured of the change lies in up of layer 2; modules or "
        "tensors that cannot be measured without the base: 2."
    )
    assert found.is_same is False
    assert replace(found, matrices=()).is_same is None
    assert changes(**NOTHING).is_same


def test_only_a_test_finds_that_a_group_stands_out():
    found, unsure = (
        weights_claims(changes(groups=(group(p=p),)))[-1] for p in (0.01, 0.4)
    )
    assert (found.standing, unsure.standing) == ("found", "inconclusive")
    assert found.says == (
        "Group `difference` (120 weights) moved 2.00 times as far as weights of its "
        "own size in its own matrices (corrected p 0.01, 999 draws): it moved more "
        "than they did."
    )
    assert unsure.says.endswith("draws): chance alone gives as much.")
    control = replace(group(), group="random", p_adjusted=None)
    assert len(said(changes(groups=(control,)))) == len(said(changes()))
    assert "`difference` 120 2.00 0.010 0.010" in drawn(changes(groups=(group(),)))


def test_experts_are_counted_and_drawn():
    bank = ChangedBank(
        path="b.1.experts",
        layer=1,
        lengths=np.array([0.0, 2.0, 0.0]),
        sizes=np.array([4.0, 4.0, 4.0]),
        router_lengths=np.array([0.5, 0.0, 0.0]),
        router_sizes=np.array([1.0, 1.0, 1.0]),
    )
    expert = matrix("b.1.experts#expert.1.up", layer=1, expert=1)
    found = changes(banks=(bank,), matrices=(expert,))
    assert said(found)[-1] == "1 of 3 experts moved, and 1 of 3 rows of the routers."
    assert "confined to experts of layer 1 of 3" in said(found)[0]
    assert "How far each expert moved" in drawn(found)
    assert "layer 1: 1 0.5" in drawn(found)


def test_the_page_has_its_figures():
    page = Page(title="t", lead="l", sections=[weights_section(changes())], footer="f")
    document = html_of(page)
    for name in ("weights-map", "weights-spectrum"):
        assert f'data-picker="{name}"' in document


def test_the_table_says_how_far_the_largest_row_is_from_chance():
    shown = drawn(changes())
    assert "4 (2.00), 1 (1.00) 1.75" in shown
    assert "effective rank 1.98 of at most 2 (by chance 2)" in shown
