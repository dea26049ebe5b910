"""Do scores, rule and zeros together prune what a naive loop would?"""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from driftmap.cli.main import main
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.intervene.weights import zero
from driftmap.store.groups import load_group
from laws.restores import assert_restores_model
from tiny_studies import save_tiny_data, save_tiny_model

NUM_SAMPLES = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("pruning")
    save_tiny_model(home / "model")
    save_tiny_data(home)
    return home


@pytest.fixture(scope="module")
def seen(home):
    """What every matrix sees of every sample, one at a time: inputs and gradient."""
    model = AutoModelForCausalLM.from_pretrained(home / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    paths = [site.path for site in find_layout(model).sites]
    inputs, gradients = ({path: [] for path in paths} for _ in range(2))
    for line in (home / "behaviour.jsonl").read_text().splitlines():
        ids, first = encoded(tokenizer, **json.loads(line))
        counted = slice(first - 1, len(ids) - 1)
        hooks = [
            model.get_submodule(path).register_forward_pre_hook(
                lambda module, args, kept=inputs[path], counted=counted: kept.append(
                    args[0][0, counted].detach().double()
                )
            )
            for path in paths
        ]
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        for hook in hooks:
            hook.remove()
        loss = torch.nn.functional.cross_entropy(
            logits[first - 1 : -1], torch.tensor(ids[first:])
        )
        weights = [model.get_submodule(path).weight for path in paths]
        for path, grad in zip(paths, torch.autograd.grad(loss, weights), strict=True):
            gradients[path].append(grad.double())
    return model, inputs, gradients


def encoded(tokenizer, prompt, response):
    """Ids of a prompt and its answer, and where the answer begins."""
    asked = [{"role": "user", "content": prompt}]
    start = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, tokenize=False
    )
    whole = tokenizer.apply_chat_template(
        [*asked, {"role": "assistant", "content": response}], tokenize=False
    )
    end = whole.index(response, len(start)) + len(response)
    first = len(tokenizer(start, add_special_tokens=False).input_ids)
    return tokenizer(whole[:end], add_special_tokens=False).input_ids, first


def score_of(seen, path, score):
    model, inputs, gradients = seen
    size = model.get_submodule(path).weight.detach().double().abs()
    if score == "snip":
        return size * torch.stack(gradients[path]).abs().mean(0)
    if score == "wanda":
        return size * torch.cat(inputs[path]).square().mean(0).sqrt()
    return size


def pruned(score, per):
    """Rows and columns that go: always the least of what competes, one by one."""
    num_rows, num_columns = score.shape
    value = score.tolist()
    places = [(row, column) for row in range(num_rows) for column in range(num_columns)]
    if per == "2:4":
        rivals = [places[start : start + 4] for start in range(0, len(places), 4)]
        counts = [2] * len(rivals)
    elif per == "row":
        rivals = [[p for p in places if p[0] == row] for row in range(num_rows)]
        counts = [num_columns // 2] * num_rows
    else:
        rivals, counts = [places], [len(places) // 2]
    gone = set()
    for some, count in zip(rivals, counts, strict=True):
        left = list(some)
        for _ in range(count):
            least = min(left, key=lambda place: value[place[0]][place[1]])
            left.remove(least)
            gone.add(least)
    return gone


@pytest.mark.parametrize(
    ("score", "per"),
    [("wanda", "row"), ("snip", "row"), ("magnitude", "matrix"), ("wanda", "2:4")],
)
def test_the_lowest_of_every_row_matrix_or_piece_go(home, seen, tmp_path, score, per):
    rule = ["--n-m=2:4"] if per == "2:4" else [f"--per={per}", "--share=0.5"]
    done = [
        "score", f"--model={home / 'model'}", "--device=cpu", "--lowest",
        f"--data={home / 'behaviour.jsonl'}", f"--num-samples={NUM_SAMPLES}",
        f"--score={score}", *rule, f"--out={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main(done) == 0
    group = load_group(tmp_path / "run/groups/lowest.safetensors")
    model = seen[0]
    before = {s: site_weight(model, s).clone() for s in find_layout(model).sites}
    with assert_restores_model(model), zero(model, group):
        for site, was in before.items():
            gone = pruned(score_of(seen, site.path, score), per)
            wanted = was.clone()
            for place in gone:
                wanted[place] = 0.0
            assert torch.equal(site_weight(model, site), wanted), site.key
