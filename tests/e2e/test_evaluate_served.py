"""Does a model behind `transformers serve` answer as it does in this process?"""

import pytest

from driftmap.cli.main import main
from driftmap.store.tables import load_table
from served_model import served

pytestmark = pytest.mark.slow

for needed in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(
        needed, reason=f"{needed} is missing; pip install 'transformers[serving]'"
    )


def answers(organism, out, *words):
    code = main(
        [
            "evaluate", f"--model={organism.aligned}", "--device=cpu",
            f"--refusal-prompts={organism.data['harmful_test']}",
            f"--harmless-prompts={organism.data['harmless_test']}",
            "--num-eval-samples=6", "--max-new-tokens=16", f"--out={out}", *words,
        ]
    )  # fmt: skip
    assert code == 0
    rows = load_table(out / "tables/answers.parquet").rows()
    kept = ("asked", "attack", "template", "sample_id", "answer", "ruling")
    return [tuple(row[name] for name in kept) for row in rows]


def test_served_answers_are_those_of_this_process(organism, tmp_path):
    chat, bare = (), ("--template=bare", "--prefill=I cannot")
    here = [
        answers(organism, tmp_path / f"here-{n}", *words)
        for n, words in enumerate((chat, bare))
    ]
    with served(organism.aligned, tmp_path / "serve.log") as address:
        asking = [
            "--endpoint-answers", f"--endpoint={address}",
            f"--endpoint-model={organism.aligned}",
        ]  # fmt: skip
        there = [
            answers(organism, tmp_path / f"there-{n}", *words, *asking)
            for n, words in enumerate((chat, bare))
        ]
    assert there == here
    assert {row[-1] for row in here[0]} == {"refusal", "compliance"}
