"""How does a small mixture of experts learn a corpus, and how do its experts share?

Nothing but the usual balance loss keeps experts busy; that they specialise comes of
the corpus alone. Fedus et al., arXiv:2101.03961, equations 4 to 6.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import OlmoeConfig, OlmoeForCausalLM
from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

from driftmap.core.seeds import child_seed
from driftmap.tune.packing import Decoder, PackedRows, read, weighted_nats

BALANCE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeShape:
    """How large the model is, and which ids are special.

    Args:
        vocabulary: Number of token ids.
        blocks: Transformer blocks, each with a bank of experts.
        hidden: Width of the residual stream.
        heads: Attention heads of each block.
        num_experts: Experts of each bank.
        num_chosen: Experts that each token goes to.
        expert: Width inside an expert.
        max_length: Longest sequence, in tokens.
        bos_id: Id that begins every text.
        eos_id: Id that ends every text.
        pad_id: Id that fills batches.
    """

    vocabulary: int
    blocks: int = 4
    hidden: int = 64
    heads: int = 4
    num_experts: int = 16
    num_chosen: int = 2
    expert: int = 64
    max_length: int = 256
    bos_id: int
    eos_id: int
    pad_id: int


def make_olmoe(shape: MoeShape, seed: int) -> OlmoeForCausalLM:
    """Make an untrained mixture of experts in float32.

    Args:
        shape: Its size.
        seed: What its weights are drawn from.

    Returns:
        The model in training mode; weights of chosen experts are not renormalised,
        embedding and head are not tied.
    """
    config = OlmoeConfig(
        vocab_size=shape.vocabulary,
        num_hidden_layers=shape.blocks,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.expert,
        num_experts=shape.num_experts,
        num_experts_per_tok=shape.num_chosen,
        norm_topk_prob=False,
        router_aux_loss_coef=BALANCE,
        initializer_range=0.05,
        max_position_embeddings=shape.max_length,
        bos_token_id=shape.bos_id,
        eos_token_id=shape.eos_id,
        pad_token_id=shape.pad_id,
        tie_word_embeddings=False,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(seed, "pretrain", "weights"))
        return OlmoeForCausalLM(config).train()


def balanced_loss(model: Decoder, packed: PackedRows) -> Float[Tensor, ""]:
    """Weighted cross-entropy of the next token and the routers' balance loss.

    Args:
        model: A mixture of experts.
        packed: Rows; gaps between them count for neither.

    Returns:
        Nats; the balance loss joins them with the model's own coefficient.
    """
    config = model.config
    assert isinstance(config, OlmoeConfig)
    shown = read(model, packed, with_routers=True)
    filled = packed.filled.flatten()
    balance = load_balancing_loss_func(
        # One tensor a layer, which the signature of the library does not say.
        cast("tuple[Tensor]", tuple(z[filled] for z in shown.router_logits)),
        config.num_experts,
        config.num_experts_per_tok,
    )
    nats = weighted_nats(model, shown.hidden, packed)
    return nats + config.router_aux_loss_coef * balance
