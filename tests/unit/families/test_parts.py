import pytest

from driftmap.families.dense import PLAIN
from driftmap.families.parts import UnclearPartsError, block_parts
from driftmap.families.spec import Fused

QKV = Fused(parts=("q", "k", "v"))
BY_HEAD = Fused(parts=("q", "k", "v"), by_head=True)
LLAMA = {
    "att.q_proj": (8, 4), "att.k_proj": (4, 4), "att.v_proj": (4, 4),
    "att.o_proj": (4, 8), "mlp.gate_proj": (6, 4), "mlp.up_proj": (6, 4),
    "mlp.down_proj": (4, 6),
}  # fmt: skip


def parts(maps, names=PLAIN.maps, num_heads=4):
    return {part.part: part for part in block_parts(maps, names, num_heads)}


def test_plain_names_speak_for_themselves():
    found = parts(LLAMA)
    assert [p.path for p in found.values()] == list(LLAMA)
    assert all(p.split is None for p in found.values())
    sizes = {name: part.head_size for name, part in found.items()}
    assert sizes == {"q": 2, "k": 2, "v": 2, "o": 2} | dict.fromkeys(
        ("gate", "up", "down")
    )


def test_a_map_with_no_known_place_is_left_out():
    assert parts(LLAMA | {"att.extra": (3, 4)}).keys() == parts(LLAMA).keys()


def test_shapes_name_the_attentions_way_back_and_a_mlp_of_two():
    maps = {
        "a.q_proj": (4, 4), "a.k_proj": (4, 4), "a.v_proj": (4, 4), "a.x": (4, 4),
        "m.second": (4, 9), "m.first": (9, 4),
    }  # fmt: skip
    found = parts(maps)
    assert (found["o"].path, found["up"].path) == ("a.x", "m.first")
    assert found["down"].path == "m.second"


def test_a_fused_gate_and_up_has_half_as_many_columns_below():
    names = {"qkv": QKV, "both": Fused(parts=("gate", "up"))}
    maps = {"a.qkv": (12, 4), "a.x": (4, 4), "m.both": (10, 4), "m.y": (4, 5)}
    found = parts(maps, names, 2)
    assert found["down"].path == "m.y"
    assert found["up"].split.rows() == [5, 6, 7, 8, 9]


def test_a_square_mlp_without_names_is_not_guessed():
    maps = {
        "a.q_proj": (4, 4), "a.k_proj": (4, 4), "a.v_proj": (4, 4), "a.x": (4, 4),
        "m.one": (4, 4), "m.two": (4, 4),
    }  # fmt: skip
    with pytest.raises(UnclearPartsError, match=r"^no map for up down$"):
        parts(maps)


def test_the_longest_known_end_of_a_path_wins():
    names = PLAIN.maps | {"mlp.q_proj": "gate"}
    maps = LLAMA | {"mlp.q_proj": (6, 4)}
    del maps["mlp.gate_proj"]
    assert parts(maps, names)["gate"].path == "mlp.q_proj"


@pytest.mark.parametrize(
    ("num_rows", "fused", "expected"),
    [
        (24, QKV, {"q": range(8), "k": range(8, 16), "v": range(16, 24)}),
        (12, QKV, {"q": range(8), "k": range(8, 10), "v": range(10, 12)}),
        (12, BY_HEAD, {"q": range(8), "k": range(8, 10), "v": range(10, 12)}),
        (
            16,
            BY_HEAD,
            {
                "q": [0, 1, 2, 3, 8, 9, 10, 11],
                "k": [4, 5, 12, 13],
                "v": [6, 7, 14, 15],
            },
        ),
    ],
)
def test_rows_of_fused_maps_for_four_heads_of_two(num_rows, fused, expected):
    maps = {"a.qkv": (num_rows, 8), "a.o": (8, 8), "fc1": (5, 8), "fc2": (8, 5)}
    found = parts(maps, PLAIN.maps | {"qkv": fused})
    rows = {part: found[part].split.rows() for part in "qkv"}
    assert rows == {part: list(r) for part, r in expected.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mlp.up_proj": None}, "^no map for up$"),
        ({"x.q_proj": (8, 4)}, r"^2 maps for q \(att.q_proj, x.q_proj\)$"),
        ({"att.o_proj": (4, 9)}, "^o has 9 columns, which 4 heads cannot share$"),
        (
            {"att.q_proj": (16, 4)},
            r"^att.q_proj would be q, but is \[16, 4\] where the rest of the block "
            r"asks for \[8, 4\] \[out in\]$",
        ),
        ({"att.k_proj": (5, 4), "att.v_proj": (5, 4)}, "^att.k_proj would be k"),
        ({"att.v_proj": (2, 4)}, "^att.v_proj would be v"),
        ({"mlp.gate_proj": (5, 4)}, "^mlp.gate_proj would be gate"),
        ({"mlp.down_proj": (4, 5)}, "^mlp.down_proj would be down"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    maps = {path: s for path, s in (LLAMA | change).items() if s is not None}
    with pytest.raises(UnclearPartsError, match=message):
        parts(maps)


@pytest.mark.parametrize("num_rows", [9, 8, 13])
@pytest.mark.parametrize("fused", [QKV, BY_HEAD])
def test_rows_that_cannot_be_shared_are_refused(num_rows, fused):
    maps = {"a.qkv": (num_rows, 8), "a.o": (8, 8), "fc1": (5, 8), "fc2": (8, 5)}
    message = f"^a.qkv has {num_rows} rows, which q k v with 4 heads of 2 cannot share$"
    with pytest.raises(UnclearPartsError, match=message):
        parts(maps, PLAIN.maps | {"qkv": fused})
