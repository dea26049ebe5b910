"""Traces estimated by gradients: how much faster than exact ones, and how alike.

Time: hidden states of a random Llama of 12 blocks and 20 tokens, 10 draws. Agreement:
facts that the built-in model knows, one of each subject; Pearson and Spearman
correlation of the cells from the subject on, and how many of the five largest are
found, as means over facts. Run with `python benchmarks/bench_screen.py [facts]`; ends
with 1 below half of the claimed speed, or where estimates no longer follow exact cells.
"""

import sys

import numpy as np
import torch
from measuring import paired_ratio, verdict
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from transformers.utils import logging

from driftmap.capture.attribution import attribution, grad_drop
from driftmap.capture.patching.clean import clean_run
from driftmap.capture.patching.noise import draw_noise, embedding_level
from driftmap.capture.patching.tracing import trace_prompt
from driftmap.load.facts import read_facts
from driftmap.load.spans import encode_fact
from driftmap.measure.tracing import trace_grid
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.recipes.steps.organism import make_organism
from driftmap.results.facts import EncodedFact, Fact
from driftmap.results.trace_kinds import Noise
from driftmap.signals.traces import Corruption, Restoring
from driftmap.stats.tracing import screen_agreement

TARGET, TURNS = 10.0, 3
LEAST_PEARSON = 0.5
WANTED = [
    Restoring(),
    Restoring(kind="mlp", window=3),
    Restoring(kind="attn", window=3),
]
WAYS = {
    "one gradient": attribution,
    "8 points": lambda *given, outcome: attribution(*given, outcome=outcome, points=8),
    "GradDrop": grad_drop,
}

logging.disable_progress_bar()


def random_prompt(tokens=20, width=512, layers=12):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8000, hidden_size=width, intermediate_size=1376,
        num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=4,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    draw = np.random.RandomState(0)
    prompt = EncodedFact(
        fact=Fact(id="made", subject="X", prompt="X is"),
        token_ids=draw.randint(3, 8000, tokens).astype(np.int32),
        num_prompt=tokens,
        subject=(1, 5),
        answer_ids=(7,),
        foil_ids=(),
        tokens=("",) * tokens,
        offsets=((0, 0),) * tokens,
    )
    noise = torch.from_numpy(0.1 * draw.randn(10, 4, width))
    return model, prompt, Corruption(start=1, values=noise, replaces=False)


def speed():
    given = *random_prompt(), [Restoring()]
    ratio = paired_ratio(
        lambda: trace_prompt(*given), lambda: attribution(*given), TURNS
    )
    print(f"12 blocks, 20 tokens, hidden states: exact {ratio.slow_seconds:.2f} s, "
          f"one gradient {ratio.fast_seconds:.2f} s ({ratio.median:.1f}x, "
          f"{ratio.low:.1f} to {ratio.high:.1f})")  # fmt: skip
    return ratio


def known_prompts(model, tokenizer, most):
    """One fact of each subject that the model answers right."""
    facts = read_facts(str(make_knowledge()["facts"])).facts
    facts = sorted(facts, key=lambda fact: (fact.relation, fact.id))
    chosen = {}
    for number, fact in enumerate(facts):
        prompt = encode_fact(fact, tokenizer)
        choice = clean_run(model, prompt).choice
        if choice == prompt.answer_ids[0] and (number % 4 == 0 or len(chosen) < most):
            chosen.setdefault(fact.subject, prompt)
    return list(chosen.values())[:most]


def agreement(most):
    folder = make_organism().aligned
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = known_prompts(model, tokenizer, most)
    ids = [one.token_ids[slice(*one.subject)].tolist() for one in prompts]
    noise = Noise(level=embedding_level(model, ids))
    width = model.config.hidden_size
    print(f"{len(prompts)} facts, noise {noise.level:.3g}, 10 draws")
    print("| way | outcome | hidden | mlp, window 3 | attn, window 3 |")
    worst = 1.0
    for outcome in ("prob", "log_prob"):
        exact = grids(model, prompts, noise, width, trace_prompt, outcome)
        for name, way in WAYS.items():
            rough = grids(model, prompts, noise, width, way, outcome)
            cells = []
            for kind in range(len(WANTED)):
                pairs = [(r[kind], e[kind]) for r, e in zip(rough, exact, strict=True)]
                said = screen_agreement(pairs, [p.fact.subject for p in prompts], 0)
                numbers = said.pearson, said.spearman, said.top_overlap
                cells.append(" / ".join(f"{n.estimate:.2f}" for n in numbers))
                worst = min(worst, said.pearson.estimate)
            print(f"| {name} | {outcome} | {' | '.join(cells)} |")
    return worst


def grids(model, prompts, noise, width, way, outcome):
    """Grids of every fact, by kind."""
    found = []
    for prompt in prompts:
        drawn = draw_noise(noise, prompt, width)
        cells = way(model, prompt, drawn, WANTED, outcome=outcome)
        found.append(
            [
                trace_grid(
                    one, prompt, noise, outcome=outcome, answer="", is_known=True
                )
                for one in cells
            ]
        )
    return found


def main():
    torch.set_num_threads(1)
    worst = agreement(int(sys.argv[1]) if len(sys.argv) > 1 else 24)
    failed = verdict(speed().median, TARGET)
    if worst < LEAST_PEARSON:
        print(f"a correlation of {worst:.2f} is below {LEAST_PEARSON}")
    return 1 if worst < LEAST_PEARSON else failed


if __name__ == "__main__":
    sys.exit(main())
