"""Groups of weights: choosing, writing and reading them, against the JSON way.

The JSON way is that of published code: the places of the highest scores as a list of
tuples, regrouped by matrix, written by `json.dump(..., indent=2)` with the score as
third number, and read again. Beside it coordinates alone, without spaces. Scores are
cut from one block of random numbers, so that a model of 7 billion weights needs the
memory of one matrix. Run with `python benchmarks/bench_groups.py [layers]`: 5 layers of
Llama-2-7B hold 10 million weights of the highest 1 %. Ends with 1 below half of a
target.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from measuring import paired_ratio, peak_memory, seconds, verdict

from driftmap.core.places import Site
from driftmap.measure.select import Cut, Picker, matched, overlap, random_weights, top
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.groups import load_group, save_group
from driftmap.store.interop import json_key

FASTER, SMALLER, THAN_COMPACT = 20, 20, 5
SHARE = 0.01
LAYERS = 32
SHAPES = {
    "q": (4096, 4096), "k": (4096, 4096), "v": (4096, 4096), "o": (4096, 4096),
    "gate": (11008, 4096), "up": (11008, 4096), "down": (4096, 11008),
}  # fmt: skip
ORIGIN = GroupOrigin(model_sha256="0" * 64, base_sha256="0" * 64, rule="top")


class Scores(Mapping):
    """Scores of a whole model: each matrix begins elsewhere in one block of numbers."""

    def __init__(self, num_layers, seed=0):
        self.sites = [
            Site(path=f"model.layers.{layer}.{part}_proj", layer=layer, part=part,
                 num_rows=rows, num_columns=columns)
            for layer in range(num_layers)
            for part, (rows, columns) in SHAPES.items()
        ]  # fmt: skip
        self._start = {site: 20_011 * number for number, site in enumerate(self.sites)}
        draw = torch.Generator().manual_seed(seed)
        longest = max(rows * columns for rows, columns in SHAPES.values())
        size = longest + 20_011 * len(self.sites)
        # A product of two has a long tail, as scores have.
        self._block = torch.rand(size, generator=draw) * torch.rand(
            size, generator=draw
        ).pow_(4)

    def __getitem__(self, site):
        start = self._start[site]
        return self._block[start : start + site.num_weights].view(site.shape)

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self):
        return len(self.sites)


def json_way(scores, folder, *, with_scores=True):
    """As published: argpartition, tuples, regrouping, `json.dump`, `json.load`."""
    chosen = []
    for site in scores:
        flat = scores[site].flatten().numpy()
        count = max(1, int(len(flat) * SHARE))
        for index in np.argpartition(flat, -count)[-count:]:
            row, column = index // site.num_columns, index % site.num_columns
            chosen.append((json_key(site), int(row), int(column), float(flat[index])))
    grouped = {}
    for name, *entry in chosen:
        grouped.setdefault(name, []).append(entry)
    file = folder / "scores.json"
    with file.open("w") as out:
        json.dump(grouped, out, indent=2)
    with file.open() as written:
        return json.load(written)


def our_way(scores, folder):
    group = WeightGroup(name="top", members=top(scores, SHARE), origin=ORIGIN)
    save_group(folder / "group.safetensors", group)
    return load_group(folder / "group.safetensors")


def in_a_folder(way_and_scores):
    """What a fresh process runs to measure memory."""
    way, scores = way_and_scores
    with tempfile.TemporaryDirectory() as folder:
        way(scores, Path(folder))


def with_json(num_layers):
    return json_way, Scores(num_layers)


def with_ours(num_layers):
    return our_way, Scores(num_layers)


def versus_json(num_layers):
    scores = Scores(num_layers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratio = paired_ratio(
            lambda: json_way(scores, folder), lambda: our_way(scores, folder), 1
        )
        group = load_group(folder / "group.safetensors")
        compact = folder / "compact.json"
        entries = {
            json_key(site): np.stack(np.divmod(index, site.num_columns), 1).tolist()
            for site, index in group.members.items()
        }
        compact.write_text(json.dumps(entries, separators=(",", ":")))
        require_same(json.loads((folder / "scores.json").read_text()), group)
        sizes = {
            file: (folder / file).stat().st_size / group.num_weights
            for file in ("scores.json", "compact.json", "group.safetensors")
        }
    peaks = [peak_memory(p, in_a_folder, num_layers) for p in (with_json, with_ours)]
    ours = sizes["group.safetensors"]
    print(f"{group.num_weights:,} weights, {SHARE:.0%} of {num_layers} layers\n")
    print("| way | bytes a weight | choose, write, read | peak memory |")
    print("|---|---|---|---|")
    print(f"| JSON with scores | {sizes['scores.json']:.1f} | "
          f"{ratio.slow_seconds:.1f} s | {peaks[0] / 2**30:.2f} GiB |")  # fmt: skip
    print(f"| compact coordinates | {sizes['compact.json']:.1f} | | |")
    print(f"| group file | {ours:.2f} | {ratio.fast_seconds:.2f} s | "
          f"{peaks[1] / 2**30:.2f} GiB |")  # fmt: skip
    return max(
        verdict(ratio.median, FASTER),
        verdict(sizes["scores.json"] / ours, SMALLER),
        verdict(sizes["compact.json"] / ours, THAN_COMPACT),
    )


def require_same(entries, group):
    """Both ways choose the same weights."""
    for site, index in group.members.items():
        found = np.array([e[:2] for e in entries[json_key(site)]]) @ [
            site.num_columns,
            1,
        ]
        assert np.array_equal(np.sort(found), index), site.key


def everything(_prepared=None):
    """A whole model of 7B: every step once, in seconds."""
    scores, took = Scores(LAYERS), {}

    def timed(name, way):
        start = time.perf_counter()
        result = way()
        took[name] = time.perf_counter() - start
        return result

    members = timed("choose, per matrix", lambda: top(scores, SHARE))
    group = WeightGroup(name="top", members=members, origin=ORIGIN)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "group.safetensors"
        timed("write", lambda: save_group(file, group))
        timed("read", lambda: load_group(file))
        num_bytes = file.stat().st_size
    blind = timed(
        "draw as many blindly", lambda: random_weights(scores.sites, SHARE, 0)
    )
    other = WeightGroup(name="random", members=blind, origin=ORIGIN)
    timed("intersect", lambda: group & other)
    timed("overlap with floor", lambda: overlap(members, blind))
    layer = {site: members[site] for site in scores.sites[: len(SHAPES)]}
    timed(
        f"draw matched weights of 1 of {LAYERS} layers",
        lambda: matched(layer, lambda site: scores[site].numpy(), [blind], 0),
    )
    return took, group.num_weights, num_bytes


def two_groups(num_layers):
    """Two groups of a model's size, without scores."""
    sites = Scores(num_layers).sites
    return [
        WeightGroup(name=f"{n}", members=random_weights(sites, SHARE, n), origin=ORIGIN)
        for n in (1, 2)
    ]


def kept_and_compared(groups):
    """Written, read, intersected, and as many drawn again."""
    left, right = groups
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "group.safetensors"
        save_group(file, left)
        found = load_group(file)
    both = found & right
    assert 0 < both.num_weights < found.num_weights
    random_weights(list(left.members), SHARE, 3)


def of_all_matrices(scores):
    """The highest of all matrices together, one matrix in sight at a time."""
    picker = Picker(scores.sites, [Cut(share=SHARE)], per="global")
    for site in scores:
        found = picker.add(site, scores[site])
    assert sum(ranked.taken().size for ranked in found.values()) > 0


def main(num_layers):
    torch.set_num_threads(1)
    failed = versus_json(num_layers)
    took, num_weights, num_bytes = everything()
    scores = Scores(LAYERS)
    took["choose, of all matrices together"] = seconds(lambda: of_all_matrices(scores))
    peak = peak_memory(Scores, of_all_matrices, LAYERS)
    kept = peak_memory(two_groups, kept_and_compared, LAYERS)
    print(f"\n{num_weights:,} weights, {SHARE:.0%} of {LAYERS} layers: "
          f"{num_bytes / 2**20:.0f} MiB\n")  # fmt: skip
    print("| step | seconds |")
    print("|---|---|")
    for name, of_step in took.items():
        print(f"| {name} | {of_step:.1f} |")
    print(f"\nPeak of the last: {peak / 2**30:.2f} GiB, "
          f"{peak / num_weights:.0f} bytes a weight of the group")  # fmt: skip
    print(f"Peak of writing, reading, intersecting, drawing: {kept / 2**30:.2f} GiB, "
          f"{kept / num_weights:.0f} bytes a weight")  # fmt: skip
    return failed


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
