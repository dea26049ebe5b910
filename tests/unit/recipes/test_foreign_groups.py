"""Do groups that were chosen elsewhere become what scoring would have written?"""

import re
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import DriftmapError
from driftmap.recipes.steps.groups import foreign as foreign_groups
from driftmap.recipes.steps.groups.cards import group_cards
from driftmap.recipes.steps.groups.choosing import load_groups
from driftmap.recipes.steps.groups.files import AGREEMENT_FILE, read_groups
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.files import sha256_of
from driftmap.store.groups import save_group
from driftmap.store.interop import export_json_group
from driftmap.store.tables import load_table


@pytest.fixture
def said(monkeypatch):
    heard = []
    monkeypatch.setattr(foreign_groups, "say", heard.append)
    return heard


def group_of(loaded, name="mine", *, rule="top", first=0, count=5, sites=None):
    identity = loaded.identity
    origin = GroupOrigin(
        model_sha256=identity.sha256, base_sha256=identity.base_sha256, rule=rule,
        score="snip", shares={"share": 0.02},
    )  # fmt: skip
    sites = loaded.layout.sites if sites is None else sites
    index = np.arange(first, first + count, dtype=np.int64)
    return WeightGroup(name=name, members=dict.fromkeys(sites, index), origin=origin)


def take(study, source, mobile=None):
    mobile = study.loaded.layout.sites if mobile is None else mobile
    return foreign_groups.groups_step(study, source, mobile)


def members(group):
    return {s.key: i.tolist() for s, i in group.members.items() if i.size}


def test_a_single_json_group_gets_its_controls(study, loaded, said, tmp_path):
    file, given = tmp_path / "my_circuit.json", group_of(loaded)
    export_json_group(file, given)
    step = take(study, file)
    declared, control, blind = load_groups(study, step)
    assert [g.name for g in (declared, control, blind)] == [
        "my_circuit", "matched", "random",
    ]  # fmt: skip
    assert members(declared) == members(given)
    assert declared.origin.rule == "imported"
    assert declared.origin.source == "my_circuit.json"
    assert declared.origin.source_sha256 == sha256_of(file)
    assert [g.is_control for g in (declared, control, blind)] == [False, True, True]
    share = given.num_weights / loaded.identity.num_weights
    assert blind.origin.shares == {"share": share}
    assert 0.5 * given.num_weights < blind.num_weights <= given.num_weights
    assert control.num_weights == given.num_weights
    assert not set(members(control)["model.layers.0.self_attn.q_proj"]) & set(range(5))
    assert said == [
        "my_circuit.json: nothing in a JSON group proves on which model it was chosen; "
        "its matrices and sizes fit this one"
    ]
    agreement = load_table(step.path(AGREEMENT_FILE))
    assert agreement["group"].tolist() == ["my_circuit"]
    assert np.isnan(agreement["jaccard"]).all()
    assert not take(study, file).redone


def test_cards_say_where_a_group_was_read(study, loaded, tmp_path):
    save_group(tmp_path / "g/mine.safetensors", group_of(loaded))
    export_json_group(tmp_path / "g/top.json", group_of(loaded, first=9))
    export_json_group(tmp_path / "g/random.json", group_of(loaded, first=20))
    step = take(study, tmp_path / "g")
    agreement = load_table(step.path(AGREEMENT_FILE))
    cards = group_cards(read_groups(step), loaded.identity.num_weights, agreement)
    assert [(card.name, card.chosen, card.read_from) for card in cards] == [
        ("mine", "read from mine.safetensors: top 2 % by score", "mine.safetensors"),
        ("matched", "as many per size bin as `mine`, outside the groups read", ""),
        ("top", "read from top.json, which names no model", "top.json"),
        ("random", "read from random.json, which names no model", "random.json"),
    ]
    assert all(card.agreement is None for card in cards)
    groups = read_groups(step)
    assert [group.is_control for group in groups] == [False, True, False, True]


def test_a_control_of_another_run_can_be_the_group_in_question(study, loaded, tmp_path):
    save_group(tmp_path / "blind.safetensors", group_of(loaded, rule="random"))
    assert not read_groups(take(study, tmp_path / "blind.safetensors"))[0].is_control


def test_the_same_control_is_drawn_as_when_groups_are_chosen(study, loaded, tmp_path):
    save_group(tmp_path / "mine.safetensors", group_of(loaded))
    first = read_groups(take(study, tmp_path / "mine.safetensors"))[1]
    assert first.origin.seed == study.seed
    save_group(tmp_path / "same.safetensors", group_of(loaded, "other"))
    assert members(read_groups(take(study, tmp_path / "same.safetensors"))[1]) == (
        members(first)
    )


def refused(study, source, words, mobile=None):
    with pytest.raises(DriftmapError, match=re.escape(words)) as caught:
        take(study, source, mobile)
    assert "\n" not in str(caught.value)
    assert not (study.run.path / "groups").exists()


def test_groups_of_another_model_are_refused(study, loaded, tmp_path):
    group = group_of(loaded)
    other = replace(group, origin=replace(group.origin, base_sha256="f" * 64))
    save_group(tmp_path / "a.safetensors", other)
    refused(study, tmp_path / "a.safetensors", "was chosen on another model (ffffffff")
    site = replace(loaded.layout.sites[0], num_rows=64)
    forged = replace(group, members={site: np.array([3])})
    save_group(tmp_path / "b.safetensors", forged)
    refused(study, tmp_path / "b.safetensors", "64 rows and 16 columns is no matrix of")


def test_empty_groups_are_refused(study, loaded, tmp_path):
    save_group(tmp_path / "a.safetensors", group_of(loaded, count=0))
    refused(study, tmp_path / "a.safetensors", "the group is empty")
    (tmp_path / "b.json").write_text("{}")
    refused(study, tmp_path / "b.json", "the group is empty")


def test_a_group_that_cannot_move_is_refused(study, loaded, tmp_path):
    parts = {site.part: site for site in loaded.layout.sites}
    save_group(tmp_path / "a.safetensors", group_of(loaded, sites=[parts["q"]]))
    refused(
        study, tmp_path / "a.safetensors",
        "no weight of `a` can move: it lies in q of some layers, and the adapters tune "
        "down, v",
        mobile=[parts["v"], parts["down"]],
    )  # fmt: skip


Q = '{"layer_0_self_attn.q_proj": '
DEEP = "[" * 9999 + "1" + "]" * 9999


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "expected {"),
        ("\x00\x01", "expected {"),
        ('{"layer_0_nothing": [[0, 0]]}', "names no matrix of this model"),
        ('{"\\q": [[0, 1]]}', "expected a name without odd escapes"),
        (Q + "[[0, 16]]}", "entry 0: [0.0, 16.0] is no weight of a matrix of 16"),
        (Q + "[[-1, 0]]}", "entry 0: [-1.0, 0.0] is no weight"),
        (Q + "[[0, 1], [0, 1]]}", "entry 1: [0, 1] stands there twice"),
        (Q + "[[0, 1]", "expected a list of [row, column]"),
        (Q + "[[0, [1], 2], [3, 4, 5]]}", "expected no list within an entry"),
        (Q + f"[[{'9' * 400}, 1]]}}", "an entry is no list of numbers"),
        (Q + DEEP + "}", "is not a list of [row, column]"),
    ],
)
def test_damaged_json_ends_in_one_sentence(study, tmp_path, text, words):
    (tmp_path / "mine.json").write_text(text)
    refused(study, tmp_path / "mine.json", words)


def test_damaged_safetensors_end_in_one_sentence(study, loaded, tmp_path):
    file = tmp_path / "mine.safetensors"
    save_group(file, group_of(loaded))
    whole = file.read_bytes()
    dice = np.random.default_rng(0)
    for _ in range(60):
        at, byte = int(dice.integers(len(whole))), int(dice.integers(256))
        cut = int(dice.integers(len(whole))) if byte % 3 == 0 else len(whole)
        file.write_bytes((whole[:at] + bytes([byte]) + whole[at + 1 :])[:cut])
        with suppress(DriftmapError):
            assert read_groups(take(study, file))[0].num_weights


def test_a_file_of_another_kind_is_refused(study, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"nothing like it")
    refused(study, tmp_path / "mine.safetensors", "is damaged or not safetensors")
