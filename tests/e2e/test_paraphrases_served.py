"""Does a whole making of versions hold against a server that nobody wrote for it?"""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.cli.main import main
from driftmap.evaluate.generate import greedy_answers
from driftmap.load.encoding import encode_prompts
from driftmap.load.paired_sets import read_pairs
from driftmap.load.paraphrases import Rewording
from driftmap.results.samples import Sample
from served_model import served
from tiny_studies import write_rows
from tokenizers_made import CHATML, byte_level

pytestmark = pytest.mark.slow

for needed in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(
        needed, reason=f"{needed} is missing; pip install 'transformers[serving]'"
    )

TEXTS = ("What is red?", "A barn is red.", "Paint the fence now.", "The fence is done.")
LONGEST = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model that ends its answers soon, with something said."""
    tokenizer = byte_level(template=CHATML)
    torch.manual_seed(13)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    made = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        made.lm_head.weight[tokenizer.eos_token_id] *= 2
    folder = tmp_path_factory.mktemp("served")
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, made, tokenizer


def expected(made, tokenizer):
    """What this process answers to the same turns."""
    rewording = Rewording(model="m", temperature=0, seed=42, max_tokens=LONGEST)
    samples = [
        Sample(
            id=text, original_id=text, messages=rewording.request("", text, 1).messages
        )
        for text in TEXTS
    ]
    answers = greedy_answers(
        made, tokenizer, encode_prompts(samples, tokenizer),
        max_new_tokens=LONGEST, batch_size=1,
    )  # fmt: skip
    return {one.sample_id: one.text for one in answers}


def test_both_versions_by_one_command(model, tmp_path):
    folder, made, tokenizer = model
    rows = [
        {"id": f"s{k}", "prompt": TEXTS[2 * k], "response": TEXTS[2 * k + 1]}
        for k in (0, 1)
    ]
    data = write_rows(tmp_path / "mine.jsonl", rows)
    words = [
        "data", "both", f"--data={data}", "--temperature=0", f"--model={folder}",
        "--device=cpu", f"--endpoint-model={folder}", f"--longest-reply={LONGEST}",
        "--max-new-tokens=4", f"--out={tmp_path / 'out'}",
    ]  # fmt: skip
    with served(folder, tmp_path / "serve.log") as address:
        assert main([*words, f"--endpoint={address}"]) == 0
    said = expected(made, tokenizer)
    files = {
        name: tmp_path / f"out/{name}.jsonl" for name in ("paraphrased", "generated")
    }
    found = [json.loads(line) for line in files["paraphrased"].read_text().splitlines()]
    told = [[turn["content"] for turn in row["messages"]] for row in found]
    assert told == [[said[TEXTS[k]], said[TEXTS[k + 1]]] for k in (0, 2)]
    replies = (tmp_path / "out/paraphrased.replies.jsonl").read_text().splitlines()
    assert len(replies) == 4
    assert all(json.loads(line)["tokens_in"] > 100 for line in replies)
    # The server is gone: a second run sends no request.
    assert main([*words, f"--endpoint={address}"]) == 0
    pairs = read_pairs(
        str(tmp_path / "out/originals.jsonl"), [str(f) for f in files.values()]
    )
    assert pairs.original == (0, 1, 0, 1)
