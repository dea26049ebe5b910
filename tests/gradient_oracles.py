"""Each sample's gradient of every parameter, the slow way; what pieces add up to."""

import torch

from driftmap.signals.gradients import LookedUpRows, OuterProducts


def autograd_gradients(model, samples, losses=None):
    """Gradient of each sample's own loss by name, unpadded, one backward a sample.

    Fused and transposed matrices come as the model stores them.
    """
    flags = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(True)
    names = [name for name, _ in model.named_parameters()]
    found = {name: [] for name in names}
    for sample in samples:
        loss = mean_loss(model, sample)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for name, gradient in zip(names, gradients, strict=True):
            found[name].append(gradient)
    for parameter, flag in zip(model.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return {name: torch.stack(of) for name, of in found.items()}


def mean_loss(model, sample):
    """Mean cross-entropy of the counted tokens of one sample alone."""
    logits = model(input_ids=sample.token_ids[None], use_cache=False).logits[0]
    first = len(sample.token_ids) - sample.num_counted
    return torch.nn.functional.cross_entropy(
        logits[first - 1 : -1], sample.token_ids[first:]
    )


def assembled(signal):
    """Gradients `[sample *shape]` that the pieces of a signal add up to."""
    total = torch.zeros(len(signal.sample_ids), *signal.shape, dtype=torch.float64)
    for piece in signal.pieces:
        if isinstance(piece, OuterProducts):
            X, G = piece.inputs.double(), piece.gradients.double()
            total += torch.einsum("sto,sti->soi", G, X)
        elif isinstance(piece, LookedUpRows):
            for sample, token in piece.counted.nonzero().tolist():
                row = piece.ids[sample, token]
                total[sample, row] += piece.scale * piece.gradients[sample, token]
        else:
            total += piece.values.double().reshape(total.shape)
    return total


class Collected:
    """Takes signals; gives `[sample *shape]` by the name of the place."""

    def __init__(self):
        self.signals = []
        self._parts = {}

    def __call__(self, signal):
        self.signals.append(signal)
        rows = self._parts.setdefault(signal.tensor, {})
        for index, gradient in zip(signal.sample_index, assembled(signal), strict=True):
            assert index not in rows, signal.tensor.name
            rows[index] = gradient

    def gradients(self):
        return {
            place.name: torch.stack([rows[index] for index in sorted(rows)])
            for place, rows in self._parts.items()
        }


def by_parameter(rules, gradients):
    """Put slices together again, and turn what the model stores turned."""
    found = {}
    for rule in rules:
        whole = None
        for one in rule.slices:
            cut = gradients[one.place.name]
            if one.rows is None:
                whole = cut
            else:
                if whole is None:
                    whole = torch.full((len(cut), *rule.shape), torch.nan).double()
                whole[:, one.rows.rows()] = cut
        found[rule.name] = whole.transpose(1, 2) if rule.transposed else whole
    return found
