"""Does `driftmap score` take the weights that its rule names, and no others?"""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from driftmap.cli.main import main
from driftmap.core.errors import UsageError
from driftmap.core.places import canonical_order
from driftmap.recipes.options import ElsewhereOptions, GroupOptions, ScoringOptions
from driftmap.recipes.picking_options import pieces_of, require_contrast
from driftmap.store.groups import load_group


def scored(model, data, out, *words):
    """Run the command; give its group, and all scores in canonical order."""
    assert main(
        ["score", f"--model={model}", f"--data={data['utility']}", "--device=cpu",
         "--num-samples=4", "--keep", f"--out={out}", *words]
    ) == 0  # fmt: skip
    (file,) = (out / "groups").iterdir()
    group = load_group(file)
    kept = {}
    for part in (out / "scores").iterdir():
        kept |= load_file(part)
    sites = sorted(group.members, key=canonical_order)
    assert {site.path for site in sites} == set(kept)
    return group, {site: kept[site.path] for site in sites}


@pytest.mark.parametrize("low", [False, True])
def test_all_matrices_compete_for_a_global_share(model, data, tmp_path, low):
    words = ["--per=global", "--share=.03", *(["--lowest"] if low else [])]
    group, scores = scored(model, data, tmp_path / "out", *words)
    flat = np.concatenate([score.ravel() for score in scores.values()])
    order = np.lexsort((np.arange(flat.size), flat if low else -flat))
    wanted = np.sort(order[: int(0.03 * flat.size)])
    starts = np.cumsum([0, *(score.size for score in scores.values())])
    found = [
        group.at(site) + start for site, start in zip(scores, starts, strict=False)
    ]
    assert np.array_equal(np.concatenate(found), wanted)
    name = "lowest" if low else "top"
    assert (group.name, group.origin.rule, group.origin.per) == (name, name, "global")
    assert group.origin.shares == {"share": 0.03}


def test_the_lowest_of_each_row_are_what_pruning_drops(model, data, tmp_path):
    group, scores = scored(
        model, data, tmp_path / "out", "--per=row", "--lowest", "--share=.5"
    )
    for site, score in scores.items():
        dropped = np.zeros(site.shape, dtype=bool)
        for row, values in enumerate(score):
            first = np.lexsort((np.arange(values.size), values))
            dropped[row, first[: values.size // 2]] = True
        assert np.array_equal(group.at(site), np.flatnonzero(dropped))


def test_two_of_four(model, data, tmp_path):
    out = tmp_path / "out"
    group, scores = scored(model, data, out, "--n-m=2:4", "--lowest")
    for site, score in scores.items():
        dropped = np.zeros(site.num_weights, dtype=bool)
        dropped[group.at(site)] = True
        pieces, values = dropped.reshape(-1, 4), score.reshape(-1, 4)
        assert (pieces.sum(axis=1) == 2).all()
        for piece, four in zip(pieces, values, strict=True):
            assert four[piece].max() <= four[~piece].min()
    assert (group.origin.rule, group.origin.per) == ("lowest", "2:4")
    assert group.origin.shares == {}


def test_another_rule_replaces_the_group_without_a_pass(model, data, tmp_path, capsys):
    out = tmp_path / "out"
    scored(model, data, out)
    before = {f.name: f.stat().st_mtime_ns for f in (out / "scores").iterdir()}
    group, _ = scored(model, data, out, "--per=layer", "--lowest", "--share=.2")
    assert group.origin.per == "layer"
    assert [f.name for f in (out / "groups").iterdir()] == ["lowest.safetensors"]
    assert {f.name: f.stat().st_mtime_ns for f in (out / "scores").iterdir()} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n-m=4:2"], "--n-m is '4:2'; give N of every M with N below M, as in 2:4"),
        (["--n-m=half"], "--n-m is 'half'"),
        (["--n-m=2:4", "--per=row"], "--per row means nothing; give one of the two"),
        (["--n-m=2:4", "--share=.5"], "so --share 0.5 means nothing; give one of the"),
        (["--n-m=2:7"], "16 columns cannot be cut into pieces of 7; give an m of"),
        (
            ["--lowest", "--share=1e-9"],
            "rounds down to no weight at all; raise",
        ),
    ],
)
def test_rules_that_take_nothing_are_refused(
    model, data, tmp_path, capsys, words, said
):
    start = ["score", f"--model={model}", f"--data={data['utility']}", "--device=cpu"]
    code = main([*start, "--num-samples=2", f"--out={tmp_path / 'out'}", *words])
    assert code in (1, 2)
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error


def test_pieces_by_hand():
    assert pieces_of(None, "row") is None
    assert pieces_of("4:8", "matrix") == (4, 8)
    with pytest.raises(UsageError, match="--n-m is '0:4'"):
        pieces_of("0:4", "matrix")


def test_a_grid_needs_two_scores(tmp_path):
    grid = GroupOptions(q_grid=(0.3,))
    with pytest.raises(UsageError, match="--q-grid: groups are read from --groups, so"):
        require_contrast(
            ScoringOptions(), grid, ElsewhereOptions(groups=tmp_path),
            keeps_scores=False,
        )  # fmt: skip
    fixed = ScoringOptions(score="magnitude")
    with pytest.raises(UsageError, match="--q-grid: --score magnitude is the same for"):
        require_contrast(fixed, grid, ElsewhereOptions(), keeps_scores=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"p_grid": (0.1, 1.0)}, "--p-grid is 1.0; give a share from 0 to below 1"),
        ({"q_grid": (0.0,)}, "--q-grid is 0.0; give a share above 0, up to 1"),
        ({"q": 1.5, "q_grid": (0.2,)}, "--q is 1.5; give a share above 0, up to 1"),
        ({"p_grid": (0.1,) * 51}, "--p-grid has 51 values; give at most 50"),
    ],
)
def test_grids_of_no_shares_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        GroupOptions(**options)


def test_a_grid_holds_the_shares_of_the_group_itself():
    assert GroupOptions().grid == ((), ())
    assert GroupOptions(p=0.1, q_grid=(0.3, 0.05)).grid == ((0.1,), (0.05, 0.1, 0.3))
    assert json.dumps(GroupOptions(p_grid=(0.1,)).grid) == "[[0.1], [0.1]]"
