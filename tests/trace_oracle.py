"""A causal trace the plain way: one whole forward pass for every cell, in float64.

Nothing of the library is used. Where each family keeps what a trace puts back is
written by hand; so is what every outcome means.
"""

import copy
import math
from contextlib import ExitStack
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Places:
    """Paths of modules; `{}` stands for the layer."""

    embedding: str
    block: str
    attention: str
    mlp: str


def _places(stem, embedding, blocks, attention="self_attn", mlp="mlp"):
    block = f"{stem}.{blocks}.{{}}"
    return Places(
        embedding=f"{stem}.{embedding}",
        block=block,
        attention=f"{block}.{attention}",
        mlp=f"{block}.{mlp}",
    )


_MODERN = (
    *("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "olmo"),
    *("olmo2", "stablelm", "starcoder2", "cohere", "granite", "glm", "glm4"),
    *("persimmon", "mixtral", "olmoe", "qwen3_moe", "gpt_oss", "deepseek_v3"),
)
_GPT = ("gpt2", "gpt_bigcode", "gpt_bigcode_by_head")
_FALCON = ("falcon", "falcon_grouped", "falcon_by_head")
PLACES = {
    **dict.fromkeys(_MODERN, _places("model", "embed_tokens", "layers")),
    **dict.fromkeys(_GPT, _places("transformer", "wte", "h", "attn")),
    **dict.fromkeys(
        _FALCON, _places("transformer", "word_embeddings", "h", "self_attention")
    ),
    "gpt_neox": _places("gpt_neox", "embed_in", "layers", "attention"),
    "opt": _places("model.decoder", "embed_tokens", "layers", mlp="fc2"),
    # the next two add the residual inside the MLP, bloom in its attention too
    "bloom": _places(
        "transformer",
        "word_embeddings",
        "h",
        "self_attention.dense",
        "mlp.dense_4h_to_h",
    ),
    "mpt": _places("transformer", "wte", "blocks", "attn", "ffn.down_proj"),
}
"""By the name of a tiny family or mixture."""


class Oracle:
    """One prompt of one model, and what was done to its embeddings."""

    def __init__(self, model, places, prompt, start, values, *, replaces=False):
        """`prompt` holds ids, `num_prompt`, answer and foil; `values` is [S n H]."""
        self.model = copy.deepcopy(model).double().eval()
        self.model.set_experts_implementation("eager")  # others know no float64
        self.places = places
        self.ids = torch.as_tensor(prompt.token_ids, dtype=torch.long)
        self.num_prompt = prompt.num_prompt
        self.answer, self.foil = prompt.answer_ids, prompt.foil_ids
        self.start, self.values, self.replaces = start, values.double(), replaces
        self.num_layers = next(
            n for n in range(1, 99) if not self._has(self.places.block.format(n))
        )
        self._clean, self.clean_logits = self._seen(corrupt=False)
        self._corrupted, self.corrupted_logits = self._seen(corrupt=True)

    def high(self, outcome="prob"):
        """Outcome of the clean run."""
        return self.read(self.clean_logits, outcome)[0].item()

    def low(self, outcome="prob"):
        """Outcome of every corrupted run."""
        return self.read(self.corrupted_logits, outcome)

    def grid(self, kind, *, window=None, dims=None, outcome="prob", tokens=None):
        """Outcome of every cell, `[token layer draw]`; NaN where not asked for."""
        shape = (self.num_prompt, self.num_layers, len(self.values))
        scores = torch.full(shape, torch.nan, dtype=torch.float64)
        for t in range(self.num_prompt) if tokens is None else tokens:
            for layer in range(self.num_layers):
                scores[t, layer] = self.cell(kind, t, layer, window, dims, outcome)
        return scores

    def cell(self, kind, t, layer, window=None, dims=None, outcome="prob"):
        """Outcome of one cell in every draw."""
        block = self.places.block
        changes = []
        if kind in ("mlp", "attn"):
            for k in range(self.num_layers):
                first, last = layer - window // 2, layer + math.ceil(window / 2)
                if first <= k < last:
                    path = self._module(kind).format(k)
                    changes.append((path, t, None, self._clean[path][:, t]))
            return self.read(self._run(changes), outcome)
        if kind != "hidden":
            for k in range(self.num_layers):
                path = self._module(kind.removeprefix("severed_")).format(k)
                changes.append((path, t, None, self._corrupted[path][:, t]))
        path = block.format(layer)
        changes.append((path, t, dims, self._clean[path][:, t]))
        return self.read(self._run(changes), outcome)

    def held_above(self, kind, t, layer, outcome="prob"):
        """As a severed cell, with the module held in the layers above alone."""
        changes = []
        for k in range(layer + 1, self.num_layers):
            path = self._module(kind).format(k)
            changes.append((path, t, None, self._corrupted[path][:, t]))
        path = self.places.block.format(layer)
        changes.append((path, t, None, self._clean[path][:, t]))
        return self.read(self._run(changes), outcome)

    def restored(self, paths_and_tokens, outcome="prob"):
        """Outcome with clean outputs put back at several places at once."""
        changes = [(p, t, None, self._clean[p][:, t]) for p, t in paths_and_tokens]
        return self.read(self._run(changes), outcome)

    def difference(self, kind, t, layer):
        """Clean minus corrupted output of a place, in every draw."""
        path = self._module(kind).format(layer)
        return self._clean[path][:, t] - self._corrupted[path][:, t]

    def slope(self, kind, t, layer, direction, outcome="prob", step=0.003):
        """How fast the outcome changes along a direction from the corrupted output."""
        path = self._module(kind).format(layer)
        ends = []
        for size in (step, -step):
            value = self._corrupted[path][:, t] + size * direction
            logits = self._run([(path, t, None, value)])
            ends.append(self.read(logits, outcome))
        return (ends[0] - ends[1]) / (2 * step)

    def read(self, logits, outcome):
        """One number for each row of logits `[row token vocabulary]`."""
        numbers = []
        for row in logits:
            p = [row[self.num_prompt - 1 + j].softmax(-1) for j in range(self._m)]
            clean = [
                self.clean_logits[0, self.num_prompt - 1 + j].softmax(-1)
                for j in range(self._m)
            ]
            raw = row[self.num_prompt - 1]
            if outcome == "prob":
                number = math.prod(q[a] for q, a in zip(p, self.answer, strict=True))
            elif outcome == "log_prob":
                number = sum(q[a].log() for q, a in zip(p, self.answer, strict=True))
            elif outcome == "logit":
                number = sum(
                    row[self.num_prompt - 1 + j][a] for j, a in enumerate(self.answer)
                )
            elif outcome == "logit_difference":
                number = raw[self.answer[0]] - raw[self.foil[0]]
            elif outcome == "rank":
                number = -sum(
                    torch.tensor(float(sum(other > q[a] for other in q)))
                    for q, a in zip(p, self.answer, strict=True)
                ).double()
            else:
                number = -sum(
                    (c * (c.log() - q.log())).sum()
                    for c, q in zip(clean, p, strict=True)
                )
            numbers.append(number)
        return torch.stack(numbers)

    @property
    def _m(self):
        return len(self.answer)

    def _has(self, path):
        try:
            self.model.get_submodule(path)
        except AttributeError:
            return False
        return True

    def _module(self, kind):
        if kind == "hidden":
            return self.places.block
        return self.places.attention if kind == "attn" else self.places.mlp

    def _seen(self, *, corrupt):
        """Outputs of every place of every layer, and the logits, of a whole run."""
        paths = [
            place.format(layer)
            for layer in range(self.num_layers)
            for place in (self.places.block, self.places.attention, self.places.mlp)
        ]
        seen = {}
        with ExitStack() as stack:
            for path in paths:

                def keep(_module, _inputs, output, path=path):
                    states = output[0] if isinstance(output, tuple) else output
                    seen[path] = states.detach().clone().view(self._shape(corrupt))

                module = self.model.get_submodule(path)
                stack.callback(module.register_forward_hook(keep).remove)
            logits = self._run([], corrupt=corrupt)
        return seen, logits

    def _shape(self, corrupt):
        return (len(self.values) if corrupt else 1, len(self.ids), -1)

    def _run(self, changes, *, corrupt=True):
        """Logits with every change made: a place, a token, coordinates, a value."""
        with ExitStack() as stack, torch.no_grad():
            for path, t, dims, value in changes:

                def put(_module, _inputs, output, t=t, dims=dims, value=value):
                    states = output[0] if isinstance(output, tuple) else output
                    new = states.clone().view(self._shape(corrupt=True))
                    first, last = dims or (0, new.shape[-1])
                    new[:, t, first:last] = value[:, first:last]
                    new = new.view(states.shape)
                    return (new, *output[1:]) if isinstance(output, tuple) else new

                module = self.model.get_submodule(path)
                stack.callback(module.register_forward_hook(put).remove)
            if corrupt:
                module = self.model.get_submodule(self.places.embedding)
                stack.callback(module.register_forward_hook(self._spoil).remove)
            rows = self.ids.expand(self._shape(corrupt)[0], -1)
            return self.model(input_ids=rows, use_cache=False).logits.double()

    def _spoil(self, _module, _inputs, output):
        end = self.start + self.values.shape[1]
        new = output.clone()
        if self.replaces:
            new[:, self.start : end] = self.values
        else:
            new[:, self.start : end] += self.values
        return new
