"""Does a chosen score reach the group, its file and the report's words?"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from driftmap.cli.main import main
from driftmap.core.errors import ModelError, UsageError
from driftmap.families.matrices import site_weight
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.options import ElsewhereOptions, GroupOptions, ScoringOptions
from driftmap.recipes.picking_options import PickingOptions, require_contrast
from driftmap.recipes.score import Score
from driftmap.recipes.steps import data as steps_data
from driftmap.recipes.steps import rows
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.choosing import group_step
from driftmap.recipes.steps.groups.files import AGREEMENT_FILE
from driftmap.recipes.steps.scoring import halves as scoring_halves
from driftmap.recipes.steps.scoring.kept import ScorePlaces
from driftmap.store.groups import load_group
from driftmap.store.run_dir import RunDir
from driftmap.store.tables import load_table
from tiny_studies import save_tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model of the same shapes with other weights."""
    folder = save_tiny_model(tmp_path_factory.mktemp("bases") / "base")
    (file,) = folder.glob("*.safetensors")
    draw = torch.Generator().manual_seed(7)
    moved = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=draw)
        for name, tensor in load_file(file).items()
    }
    save_file(moved, file, metadata={"format": "pt"})
    return folder


def run(model, data, out, **options):
    recipe = Score(
        source=ModelSource(model=str(model), device="cpu"),
        data=str(data["utility"]),
        scoring=ScoringOptions(num_samples=6, **options),
        keep=True,
        picking=PickingOptions(share=0.05),
        out=out,
    )
    return recipe.run()


def kept(out: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for file in sorted((out / "scores").glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


CHOICES = [
    ("snip", "weight"),
    ("snip", "none"),
    ("snip", "difference"),
    ("snip_batch", "weight"),
    ("wanda", "weight"),
    ("magnitude", "weight"),
    ("difference", "weight"),
    ("random", "weight"),
]


@pytest.mark.parametrize(("score", "factor"), CHOICES)
def test_files_and_group_follow_the_score(model, base, data, tmp_path, score, factor):
    needs_base = "difference" in (score, factor)
    out = run(
        model, data, tmp_path / "out",
        score=score, factor=factor, base=str(base) if needs_base else None,
    )  # fmt: skip
    name = score if factor == "weight" else f"{score}-{factor}"
    assert [f.name for f in (out / "scores").iterdir()] == [f"{name}-000.safetensors"]
    group = load_group(out / "groups/top.safetensors")
    assert group.origin.score == name
    reads = score in ("snip", "snip_batch", "wanda")
    assert bool(group.origin.samples_sha256) is reads
    assert bool(group.origin.positions) is reads
    scores = kept(out)
    for site, members in group.members.items():
        flat = scores[site.key].flatten().numpy()
        others = np.setdiff1d(np.arange(flat.size), members)
        assert flat[members].min() >= flat[others].max()


def test_scores_without_samples_are_what_they_say(model, base, loaded, data, tmp_path):
    other = load_model(ModelSource(model=str(base), device="cpu"))
    size = kept(run(model, data, tmp_path / "m", score="magnitude"))
    apart = kept(run(model, data, tmp_path / "d", score="difference", base=str(base)))
    for site in loaded.layout.sites:
        W = site_weight(loaded.model, site)
        assert torch.equal(size[site.key], W.abs())
        assert torch.equal(apart[site.key], (W - site_weight(other.model, site)).abs())


def test_the_difference_factor_takes_the_place_of_the_weight(
    model, base, loaded, data, tmp_path
):
    other = load_model(ModelSource(model=str(base), device="cpu"))
    plain = kept(run(model, data, tmp_path / "n", factor="none"))
    found = kept(run(model, data, tmp_path / "d", factor="difference", base=str(base)))
    for site in loaded.layout.sites:
        apart = site_weight(loaded.model, site) - site_weight(other.model, site)
        assert torch.allclose(found[site.key], plain[site.key] * apart.abs())


def test_wanda_reads_other_tokens_with_other_positions(model, data, tmp_path):
    found = {
        positions: kept(
            run(model, data, tmp_path / positions, score="wanda", positions=positions)
        )
        for positions in ("response", "labels", "all")
    }
    for name, scores in found["response"].items():
        assert not torch.allclose(scores, found["labels"][name])
        assert not torch.allclose(scores, found["all"][name])


def test_wanda_takes_one_forward_pass_in_little_memory(
    model, data, tmp_path, monkeypatch
):
    passes = []
    run_folds = scoring_halves.run_folds

    def counting(model, sites, *rest, **named):
        passes.append(len(sites))
        return run_folds(model, sites, *rest, **named)

    monkeypatch.setattr(scoring_halves, "run_folds", counting)
    tight = run(model, data, tmp_path / "tight", score="wanda", memory=0.00001)
    assert passes == [14]
    assert len(list((tight / "scores").iterdir())) > 1
    wide = run(model, data, tmp_path / "wide", score="wanda")
    assert kept(tight).keys() == kept(wide).keys()
    assert all(torch.equal(kept(tight)[n], of) for n, of in kept(wide).items())


@pytest.fixture
def choose(loaded, data, tmp_path):
    """Chooses the groups of a study by some score."""

    def choose(name, score, groups=None, **places):
        options = ScoringOptions(num_samples=6, score=score)
        both = {
            role: steps_data.scored_samples(
                loaded, rows.drawn(str(data[role]), 6, 0), options
            )
            for role in ("behaviour", "utility")
        }
        scored = steps_data.ScoringData(**both, sha256={r: r for r in both})
        groups = groups or GroupOptions(share=0.05, p=0.1, q=0.3)
        with RunDir.open(tmp_path / name, {}, "drift") as run:
            study = Study(run=run, loaded=loaded, seed=0)
            mobile = loaded.layout.sites[:3]
            return group_step(
                study, scored, options, groups, mobile, ScorePlaces(**places)
            )

    return choose


@pytest.mark.parametrize("score", ["wanda", "snip_batch"])
def test_halves_of_every_score_give_a_ceiling(choose, score):
    table = load_table(choose("run", score).path(AGREEMENT_FILE))
    for row in table.rows():
        assert 0 < row["by_chance"] < row["jaccard"] <= 1
        assert row["num_samples"] == 3


@pytest.mark.parametrize("score", ["wanda", "snip_batch"])
def test_groups_of_kept_scores_are_those_of_memory(choose, score):
    wanted, kept = choose("memory", score), choose("kept", score, keep=True)
    for name in ("difference", "top", "utility"):
        file = f"groups/{name}.safetensors"
        assert wanted.path(file).read_bytes() == kept.path(file).read_bytes()
    agreed = [load_table(s.path(AGREEMENT_FILE)).rows() for s in (wanted, kept)]
    assert list(agreed[0]) == list(agreed[1])


def test_a_score_without_samples_has_no_ceiling_and_says_so(choose):
    step = choose("run", "magnitude", GroupOptions(share=0.05, p=0, q=0.3))
    rows = list(load_table(step.path(AGREEMENT_FILE)).rows())
    assert [row["group"] for row in rows] == ["difference", "top"]
    assert all(np.isnan(row["jaccard"]) for row in rows)
    assert {row["why_not"] for row in rows} == {"the score reads no sample"}
    assert not any("utility" in name for name in step.files)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"score": "difference"}, "give it as --base"),
        ({"factor": "difference"}, "give it as --base"),
        ({"base": "m"}, "--base m is read by --score difference and --factor"),
        ({"score": "wanda", "factor": "none"}, "--factor none goes with a gradient"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        ScoringOptions(**options)


HERE = ElsewhereOptions()


def test_a_score_without_samples_cannot_tell_behaviour_from_utility():
    fixed, groups = ScoringOptions(score="random"), GroupOptions()
    with pytest.raises(UsageError, match=r"--score random reads no sample.*--p 0"):
        require_contrast(fixed, groups, HERE, keeps_scores=False)
    none = GroupOptions(p=0)
    require_contrast(fixed, none, HERE, keeps_scores=False)
    with pytest.raises(UsageError, match="--keep spares the passes over samples"):
        require_contrast(fixed, none, HERE, keeps_scores=True)
    require_contrast(ScoringOptions(), groups, HERE, keeps_scores=True)


def test_the_same_model_is_no_base(model, data, tmp_path):
    with pytest.raises(ModelError, match="every difference is 0; give the model that"):
        run(model, data, tmp_path / "out", score="difference", base=str(model))


def test_a_base_of_other_shapes_is_refused_before_the_pass(
    model, data, tmp_path, monkeypatch
):
    monkeypatch.delattr(scoring_halves, "run_folds")
    other = save_tiny_model(tmp_path / "other", hidden=32)
    with pytest.raises(ModelError, match=r"--base .*: its matrices are not those of"):
        run(model, data, tmp_path / "out", factor="difference", base=str(other))


def test_the_command_takes_the_options(model, base, data, tmp_path):
    words = [
        "score", f"--model={model}", f"--data={data['utility']}", "--device=cpu",
        "--num-samples=6", "--score=snip", "--factor=difference", f"--base={base}",
        f"--out={tmp_path / 'out'}",
    ]  # fmt: skip
    assert main(words) == 0
    group = load_group(tmp_path / "out/groups/top.safetensors")
    assert group.origin.score == "snip-difference"
