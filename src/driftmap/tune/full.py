"""How does a model move when all of its parameters are fine-tuned, or whole blocks?

They are trained in float32, whatever type the model is in: a model in bfloat16 is
widened, exactly, and its passes run in bfloat16 over these weights. So a step that is
too small for the narrow type still counts, and drift is read from what was trained.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import logging

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.families.matrices import site_weight
from driftmap.signals.changes import DenseChange, MatrixChange
from driftmap.tune.freezing import Frozen, Hold, hold_weights
from driftmap.tune.live import Live, Task

LARGEST_FILE = "5GB"
"""Weights beyond this go into further files."""


@contextmanager
def tuned_whole(model: PreTrainedModel, task: Task) -> Iterator[Live]:
    """Make every parameter of a model, or of some of its blocks, trainable, in float32.

    Args:
        model: In any float type but float16; given back bit for bit.
        task: What is measured, and what is frozen.

    Yields:
        The model itself, its changes, and how it is saved.

    Raises:
        ModelError: The model has an adapter, or weights that no gradient can move.
    """
    _require_whole(model)
    is_mixed = model.dtype == torch.bfloat16
    with _given_back(model), _Masters(model) as masters:
        _unfreeze(model, task.within)
        frozen = task.frozen
        holds = () if frozen is None else hold_weights(model, frozen.members)
        rewound = holds if frozen is not None and frozen.way == "rewind" else ()
        yield Live(
            model=model,
            changes=partial(_Changes, model, masters, task.sites, frozen),
            save=partial(_save, model, rewound),
            holds=() if rewound else holds,
            at_rest=masters.put_aside,
            is_mixed=is_mixed,
        )


def _unfreeze(model: nn.Module, within: Sequence[str]) -> None:
    """Have the parameters of some modules trained; of the whole model for none.

    A tensor that is tied to one outside of them is trained in both places.
    """
    model.requires_grad_(not within)
    for path in within:
        model.get_submodule(path).requires_grad_(True)


class _Masters:
    """Float32 weights in the place of a model's own, which are kept beside them.

    For a while, modules are given other parameters. The data of the same ones cannot
    be exchanged then: with another type they lose their place in autograd, and with it
    what several processes hang on it to add up gradients.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = list(model.parameters())
        self.own = [p.data for p in self.parameters]
        numbers = {id(p): number for number, p in enumerate(self.parameters)}
        self.places = [
            (module, name, numbers[id(p)])
            for module in model.modules()
            for name, p in module.named_parameters(recurse=False)
        ]

    def __enter__(self) -> "_Masters":
        for parameter in self.parameters:
            parameter.data = parameter.data.to(torch.float32, copy=True)
        return self

    def __exit__(self, *_: object) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        self._put(self.own)

    def put_aside(self) -> AbstractContextManager[None]:
        """Have the model's own weights in place for a while."""
        return self.having(self.own)

    @contextmanager
    def having(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Have other weights in place for a while."""
        found = [getattr(module, name) for module, name, _ in self.places]
        given = [nn.Parameter(data, requires_grad=False) for data in values]
        self._show([given[number] for _, _, number in self.places])
        try:
            yield
        finally:
            self._show(found)  # which may be others' again, where this is nested

    def _show(self, parameters: Sequence[nn.Parameter]) -> None:
        for (module, name, _), parameter in zip(self.places, parameters, strict=True):
            setattr(module, name, parameter)

    def _put(self, values: Sequence[Tensor]) -> None:
        for parameter, data in zip(self.parameters, values, strict=True):
            parameter.data = data


class _Changes(Mapping[Site, MatrixChange]):
    """What training has added: one matrix at a time, made when it is asked for."""

    def __init__(
        self,
        model: nn.Module,
        masters: _Masters,
        sites: Sequence[Site],
        frozen: Frozen | None,
    ) -> None:
        self.model = model
        self.masters = masters
        self.sites = dict.fromkeys(sites)
        self.trained = [p.data for p in masters.parameters]
        self.rewound = frozen if frozen and frozen.way == "rewind" else None

    def __getitem__(self, site: Site) -> DenseChange:
        if site not in self.sites:
            raise KeyError(site)
        with self.masters.having(self.masters.own):
            before = site_weight(self.model, site).cpu().double()
        with self.masters.having(self.trained):
            change = site_weight(self.model, site).cpu().double() - before
        if self.rewound and site in self.rewound.members:
            index = torch.from_numpy(self.rewound.members[site])
            change.view(-1)[index] = 0
        return DenseChange(values=change)

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)


def _require_whole(model: PreTrainedModel) -> None:
    if hasattr(model, "peft_config"):
        raise ModelError(
            "the model already has an adapter: merge it into the weights first "
            "(`merge_and_unload` in peft) and tune the merged model"
        )
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise ModelError(
                f"{name} is kept as {parameter.dtype}, which no gradient can move; "
                "load the model in float32 or bfloat16, or give --tune qlora"
            )


@contextmanager
def _given_back(model: PreTrainedModel) -> Iterator[None]:
    """Undo what training leaves on the model beside its weights."""
    needed = [p.requires_grad for p in model.parameters()]
    was_training = model.training
    before = {
        name: model.__dict__.get(name)
        for name in ("forward", "model_tags", "_original_forward")
    }
    dtype = model.config.dtype
    try:
        yield
    finally:
        for name, found in before.items():
            if found is not None:
                setattr(model, name, found)
            elif name in model.__dict__:
                delattr(model, name)
        for parameter, was_needed in zip(model.parameters(), needed, strict=True):
            parameter.requires_grad_(was_needed)
        model.config.dtype = dtype
        model.train(was_training)


def _save(model: PreTrainedModel, rewound: Sequence[Hold], folder: Path) -> None:
    config, generation = model.config, model.generation_config
    before = {name: getattr(config, name) for name in ("dtype", "architectures")}
    # Settings of generation that contradict each other load but cannot be saved.
    model.generation_config = GenerationConfig()
    try:
        with _put_back_for_now(rewound), _no_bars():
            model.save_pretrained(folder, max_shard_size=LARGEST_FILE)
    finally:
        model.generation_config = generation
        for name, value in before.items():
            setattr(config, name, value)


@contextmanager
def _no_bars() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _put_back_for_now(holds: Sequence[Hold]) -> Iterator[None]:
    trained = [hold.parameter.detach().view(-1)[hold.index].clone() for hold in holds]
    for hold in holds:
        hold.put_back()
    try:
        yield
    finally:
        with torch.no_grad():
            for hold, values in zip(holds, trained, strict=True):
                hold.parameter.view(-1)[hold.index] = values
