"""How does a small model learn a corpus from nothing, in a fixed number of steps?

Each step reads rows of all kinds; every token has its own weight in the loss.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.core.progress import progress
from driftmap.core.seeds import child_seed
from driftmap.results.curriculum import Stock, WeightedRow
from driftmap.tune.packing import Decoder, PackedRows, pack, weighted_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """How large the model is, and which ids are special.

    Args:
        vocabulary: Number of token ids.
        blocks: Transformer blocks.
        hidden: Width of the residual stream.
        heads: Attention heads of each block.
        mlp: Width inside the MLP.
        max_length: Longest sequence, in tokens.
        bos_id: Id that begins every text.
        eos_id: Id that ends every text.
        pad_id: Id that fills batches.
    """

    vocabulary: int
    blocks: int = 6
    hidden: int = 96
    heads: int = 4
    mlp: int = 288
    max_length: int = 256
    bos_id: int
    eos_id: int
    pad_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """How one stage of training goes.

    Args:
        steps: Number of updates.
        learning_rate: Highest rate, reached after the warm-up.
        warmup_steps: Updates of linear rise; then a cosine to `final_share`.
        final_share: Last rate as a share of the highest.
        weight_decay: AdamW's decay per unit of learning rate.
        max_norm: Gradients longer than this are shortened to it.
        flat_share: Share of all updates, the rise included, before the cosine.
        bin_tokens: Length of the bins that rows are packed into; that of the longest
            row of each step by default.
    """

    steps: int
    learning_rate: float
    warmup_steps: int
    final_share: float = 0.01
    weight_decay: float = 0.01
    max_norm: float = 1.0
    flat_share: float = 0.0
    bin_tokens: int | None = None


def make_llama(shape: ModelShape, seed: int) -> LlamaForCausalLM:
    """Make an untrained Llama in float32.

    Args:
        shape: Its size.
        seed: What its weights are drawn from.

    Returns:
        The model in training mode; embedding and head are not tied.
    """
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        num_hidden_layers=shape.blocks,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.mlp,
        max_position_embeddings=shape.max_length,
        bos_token_id=shape.bos_id,
        eos_token_id=shape.eos_id,
        pad_token_id=shape.pad_id,
        tie_word_embeddings=False,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(seed, "pretrain", "weights"))
        return LlamaForCausalLM(config).train()


def pretrain(
    model: Decoder,
    stocks: Sequence[Stock],
    settings: PretrainSettings,
    seed: int,
    stage: str = "base",
    loss_of: Callable[[Decoder, PackedRows], Tensor] = weighted_loss,
) -> float:
    """Train a model in place on rows of all stocks at every step.

    Args:
        model: The model; its weights change.
        stocks: What it reads.
        settings: Steps and rates.
        seed: What the order of rows is drawn from, together with the stage.
        stage: What the progress bar says.
        loss_of: Loss of a model on the rows of one step, in nats.

    Returns:
        The mean loss of the last tenth of the steps, in nats per unit of weight.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_share(step, settings)
    )
    losses: list[float] = []
    model.train()
    with progress(f"pretrain {stage}", settings.steps) as bar:
        for rows in _steps(stocks, settings.steps, child_seed(seed, "pretrain", stage)):
            loss = loss_of(model, pack(rows, settings.bin_tokens))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            bar.advance(note=f"loss {losses[-1]:.3f}")
    model.eval()
    return float(np.mean(losses[-max(1, settings.steps // 10) :]))


def learning_rate_share(step: int, settings: PretrainSettings) -> float:
    """Share of the highest learning rate at a step counted from 0.

    >>> settings = PretrainSettings(steps=12, learning_rate=1.0, warmup_steps=2)
    >>> [round(learning_rate_share(step, settings), 3) for step in (0, 1, 2, 7, 12)]
    [0.5, 1.0, 1.0, 0.505, 0.01]
    """
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    start = max(settings.warmup_steps, round(settings.flat_share * settings.steps))
    done = min(1.0, max(0, step - start) / max(1, settings.steps - start))
    falling = 0.5 * (1 + np.cos(np.pi * done))
    return float(settings.final_share + (1 - settings.final_share) * falling)


def _steps(
    stocks: Sequence[Stock], steps: int, seed: int
) -> Iterator[list[WeightedRow]]:
    readers = [(stock, _endless(stock, seed)) for stock in stocks]
    for _ in range(steps):
        yield [
            next(reader)
            for stock, reader in readers
            for _ in range(stock.rows_per_step)
        ]


def _endless(stock: Stock, seed: int) -> Iterator[WeightedRow]:
    rng = np.random.default_rng(child_seed(seed, "pretrain", stock.name))
    while True:
        for k in rng.permutation(len(stock.rows)).tolist():
            yield stock.rows[k]
