"""A random model of 3 layers and 8 experts each, one of which speaks against refusing.

The planted expert sees unsafe prompts and hardly any benign ones, and what it says
points away from the first token of the refusal. Every method that looks for experts
that carry the behaviour has to find it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import OlmoeConfig, OlmoeForCausalLM, PreTrainedModel

from driftmap.core.places import ExpertPlace
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_tensors import stored_views
from driftmap.families.experts import find_experts
from driftmap.results.samples import EncodedSample

REFUSAL = (4, 5)
"""Tokens of the one refusal; the first of them opens it."""

_VOCAB = 72
_UNSAFE, _BENIGN, _ORDINARY = range(8, 36), range(36, 64), range(64, 72)
_HIDDEN = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """The model, what was planted, and samples that tell it apart.

    Args:
        model: Float32, in eval mode.
        banks: Its banks.
        expert: The planted one.
        unsafe: Unsafe prompts with the refusal as the response.
        benign: Benign prompts with an ordinary response.
    """

    model: PreTrainedModel
    banks: tuple[ExpertBank, ...]
    expert: ExpertPlace
    unsafe: tuple[EncodedSample, ...]
    benign: tuple[EncodedSample, ...]

    @property
    def place(self) -> tuple[int, int]:
        """Number of the bank and of the expert, as axes of maps."""
        return self.expert.layer, self.expert.expert


def planted_expert(seed: int = 0, num_samples: int = 16) -> Planted:
    """Plant an expert in a random model."""
    model = _random_model(seed)
    rng = np.random.default_rng([seed, 1])
    unsafe = tuple(_sample(rng, f"u{n}", _UNSAFE) for n in range(num_samples))
    benign = tuple(_sample(rng, f"b{n}", _BENIGN) for n in range(num_samples))
    banks = find_experts(model)
    bank = banks[1]
    expert = bank.experts[int(rng.integers(bank.place.num_experts))]
    with torch.no_grad():
        _draw_unsafe_tokens(model, bank, expert, unsafe, benign)
        _speak_against_refusing(model, bank, expert, unsafe)
    return Planted(
        model=model, banks=banks, expert=expert, unsafe=unsafe, benign=benign
    )


def prompts_of(samples: Sequence[EncodedSample]) -> tuple[EncodedSample, ...]:
    """The prompts alone, ending where the response starts."""
    return tuple(
        EncodedSample(
            sample_id=one.sample_id,
            token_ids=one.token_ids[: one.prompt_length],
            counted=one.counted[: one.prompt_length],
            prompt_length=one.prompt_length,
        )
        for one in samples
    )


def _random_model(seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    settings = OlmoeConfig(
        vocab_size=_VOCAB,
        hidden_size=_HIDDEN,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_experts=8,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        max_position_embeddings=64,
        initializer_range=0.15,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    return OlmoeForCausalLM(settings).float().eval().requires_grad_(False)


def _sample(rng: np.random.Generator, name: str, words: range) -> EncodedSample:
    prompt = [1, *rng.choice(words, int(rng.integers(6, 11))).tolist()]
    ordinary = rng.choice(_ORDINARY, 2).tolist()
    response = list(REFUSAL) if words is _UNSAFE else ordinary
    ids = np.array(prompt + response, dtype=np.int32)
    return EncodedSample(
        sample_id=name,
        token_ids=ids,
        counted=np.arange(ids.size) >= len(prompt),
        prompt_length=len(prompt),
    )


def _draw_unsafe_tokens(
    model: PreTrainedModel,
    bank: ExpertBank,
    expert: ExpertPlace,
    unsafe: Sequence[EncodedSample],
    benign: Sequence[EncodedSample],
) -> None:
    """Router row: where inputs on unsafe prompts are told apart from those on benign
    ones (least squares), long enough to be chosen."""
    inputs = [
        torch.cat([_inputs(model, bank, s) for s in side]) for side in (unsafe, benign)
    ]
    x = torch.cat(inputs).double()
    y = torch.cat([torch.ones(len(inputs[0])), -torch.ones(len(inputs[1]))]).double()
    direction = torch.linalg.solve(
        x.T @ x + 1e-2 * len(x) * torch.eye(_HIDDEN).double(), x.T @ y
    ).float()
    weight = model.get_parameter(bank.router.weight)
    others = (torch.cat(inputs) @ weight.T).amax(dim=1).mean()
    own = (inputs[0] @ direction).mean()
    weight[expert.expert] = direction * (2.5 * others / own)


def _speak_against_refusing(
    model: PreTrainedModel,
    bank: ExpertBank,
    expert: ExpertPlace,
    unsafe: Sequence[EncodedSample],
) -> None:
    """Gate and up tripled; down less (refusal's unembedding) x (mean activation)."""
    views = stored_views(model, bank, expert.expert)
    views["gate_up_proj"].mul_(3)
    last = torch.cat([_inputs(model, bank, s)[-len(REFUSAL) - 1 :] for s in unsafe])
    gate, up = (last @ views["gate_up_proj"].T).chunk(2, dim=1)
    activation = (torch.nn.functional.silu(gate) * up).mean(dim=0)
    unembedding = model.get_output_embeddings().weight[REFUSAL[0]]
    unembedding = unembedding / unembedding.norm()
    views["down_proj"].sub_(
        4.0 * unembedding[:, None] * activation / activation.square().sum()
    )


def _inputs(model: PreTrainedModel, bank: ExpertBank, sample: EncodedSample) -> Tensor:
    """What enters a bank, token by token."""
    seen: list[Tensor] = []
    module = model.get_submodule(bank.place.path)
    handle = module.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    try:
        model(input_ids=torch.from_numpy(sample.token_ids.astype("i8"))[None])
    finally:
        handle.remove()
    return seen[0]
