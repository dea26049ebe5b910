"""Does the known set `lima` come from the hub as published, with its versions?

The hub's address is read when its library is imported, so this is a process.
"""

import json
import os
import subprocess
import sys

import pytest

from made_data_hub import serving

ASK = """
import json
from driftmap.load.paired_sets import read_pairs
pairs = read_pairs("lima")
print(json.dumps({
    "originals": [[s.id, s.response] for s in pairs.originals],
    "queries": [[s.id, s.prompt, s.response] for s in pairs.queries],
    "original": pairs.original,
    "sets": pairs.sets,
}))
"""


def turns(*texts):
    roles = ("user", "assistant") * len(texts)
    return [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]


def row(number, **more):
    messages = turns(f"Why {number}?", f"So {number}.")
    return {"id": f"lima_{number}", "messages": messages, **more}


SETS = {
    "allenai/tulu-v2-sft-mixture": [
        {"dataset": "flan_v2", "id": "flan_0", "messages": turns("Say.", "No.")},
        {"dataset": "lima", **row(0)},
        {"dataset": "lima", "id": "lima_1", "messages": turns("a", "b", "c", "d")},
        {"dataset": "lima", **row(2)},
    ],
    "lukashinterleitner/LIMA-paraphrased-GPT-4o-mini": [
        row(n, paraphrased_messages=turns(f"What for, {n}?", f"Thus {n}."))
        for n in (0, 2)
    ],
    "lukashinterleitner/LIMA-model-generated-amd-AMD-OLMo-1B-SFT": [
        row(
            n,
            paraphrased_messages=turns(f"What for, {n}?", f"Thus {n}."),
            model_generated_messages=turns(f"What for, {n}?", f"Dunno {n}."),
        )
        for n in (0, 2)
    ],
}


@pytest.mark.slow
def test_lima_and_its_versions(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    with serving(SETS) as hub:
        done = subprocess.run(
            [sys.executable, "-c", ASK], capture_output=True, text=True, cwd=tmp_path,
            env={**kept, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"),
                 "DRIFTMAP_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["originals"] == [["lima_0", "So 0."], ["lima_2", "So 2."]]
    assert found["original"] == [0, 1, 0, 1]
    assert found["sets"] == ["paraphrased"] * 2 + ["generated"] * 2
    assert found["queries"][1] == ["paraphrased/lima_2", "What for, 2?", "Thus 2."]
    assert found["queries"][3] == ["generated/lima_2", "What for, 2?", "Dunno 2."]
