"""How is a model run so that its answer, and nothing else, is read?"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from driftmap.core.errors import MeasureError
from driftmap.families.modules import base_model
from driftmap.families.trace_sites import TraceSites, find_trace_sites
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import TraceKind


class _Output(Protocol):
    logits: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traced:
    """A model and the modules of it that a trace touches.

    Args:
        model: As it was given, adapters and all.
        sites: Their paths.
        embedding: The token embedding.
        blocks: The decoder blocks.
    """

    model: nn.Module
    sites: TraceSites
    embedding: nn.Module
    blocks: tuple[nn.Module, ...]

    @staticmethod
    def of(model: nn.Module) -> "Traced":
        """Find the modules of a model."""
        sites = find_trace_sites(model)
        base = base_model(model)
        return Traced(
            model=model,
            sites=sites,
            embedding=base.get_submodule(sites.embedding),
            blocks=tuple(base.get_submodule(path) for path in sites.blocks),
        )

    @property
    def num_layers(self) -> int:
        """Blocks, L."""
        return len(self.blocks)

    def places(self, kind: TraceKind) -> Mapping[int, str]:
        """Paths of the modules that a kind puts back or holds, by layer.

        Raises:
            MeasureError: The model has none.
        """
        if kind == "hidden":
            return dict(enumerate(self.sites.blocks))
        paths = self.sites.attention if kind.endswith("attn") else self.sites.mlp
        found = {layer: path for layer, path in enumerate(paths) if path is not None}
        if not found:
            raise MeasureError(
                f"no single module gives the {kind.removeprefix('severed_')} output of "
                f"a block ({self.sites.blocks[0]}); trace hidden states instead"
            )
        return found

    def module(self, path: str) -> nn.Module:
        """A module by its path in the base model."""
        return base_model(self.model).get_submodule(path)

    def token_ids(self, prompt: EncodedFact) -> Int64[Tensor, "1 token"]:
        """What is fed for a prompt, one row, where the embedding is."""
        device = next(self.embedding.parameters()).device
        return torch.as_tensor(prompt.token_ids, dtype=torch.int64, device=device)[None]


def answer_logits(
    model: nn.Module,
    token_ids: Int64[Tensor, "_ token"],
    num_answers: int,
    past: object | None = None,
) -> Float[Tensor, "row answer vocabulary"]:
    """Run a model and read its logits at the last tokens.

    Args:
        model: In eval mode.
        token_ids: What is fed; with `past`, what follows it.
        num_answers: Tokens at the end whose logits are read (count).
        past: A cache; None to run without.
    """
    named: dict[str, object] = {"use_cache": past is not None}
    if past is not None:
        named["past_key_values"] = past
    if "logits_to_keep" in inspect.signature(base_model(model).forward).parameters:
        named["logits_to_keep"] = num_answers
    output = cast(_Output, model(input_ids=token_ids, **named))
    return output.logits[:, -num_answers:]
