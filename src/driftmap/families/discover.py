"""Where does this model keep its blocks, their matrices, its norms and its head?

By structure first: the blocks are the list of as many modules as the config counts
layers, each with linear maps inside. The names of the maps come from `dense`. Only
names and shapes are looked at, so a model on the meta device will do.

Every map of a dense model must be known. Of a mixture of experts, whose blocks differ
more, maps that are not known are left out and named as `uncovered`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn

from driftmap.core.errors import FamilyError
from driftmap.core.places import Part, Site, canonical_order
from driftmap.families.dense import FAMILIES, MIXTURES, PLAIN
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.mixtures import mixture_sites, open_banks
from driftmap.families.modules import (
    base_model,
    base_module,
    is_linear_map,
    is_transposed,
    join,
    map_shape,
    own_modules,
)
from driftmap.families.parts import (
    MapPart,
    UnclearPartsError,
    block_parts,
    clear_parts,
)
from driftmap.families.refusal import unknown_layout
from driftmap.families.spec import Family, Fused, ModelLayout


@runtime_checkable
class _Config(Protocol):
    model_type: str
    is_encoder_decoder: bool

    def get_text_config(self, *, decoder: bool) -> "_Config": ...


@runtime_checkable
class _LanguageModel(Protocol):
    config: _Config

    def get_decoder(self) -> nn.Module: ...

    def get_input_embeddings(self) -> nn.Module: ...

    def get_output_embeddings(self) -> nn.Module | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """A decoder block; its modules by their path inside it, wrappers unopened."""

    path: str
    layer: int
    modules: Mapping[str, nn.Module]

    def maps(self) -> dict[str, tuple[int, int]]:
        return {
            path: map_shape(module)
            for path, module in self.modules.items()
            if is_linear_map(module)
        }


def find_layout(model: nn.Module, families: Sequence[Family] = FAMILIES) -> ModelLayout:
    """Find every matrix of a decoder-only language model, and what it is for.

    Args:
        model: A Hugging Face causal language model, with or without PEFT adapters.
        families: Rows for model types whose structure does not tell enough.

    Returns:
        The layout, in paths of the base model.

    Raises:
        FamilyError: The model is no decoder, or the maps of a dense one are unclear.
    """
    base = base_model(model)
    language_model = _as_language_model(base)
    config = language_model.config.get_text_config(decoder=True)
    paths: dict[int, str] = {}
    for path, module in own_modules(base):
        paths.setdefault(id(module), path)
    decoder = language_model.get_decoder()
    blocks = _find_blocks(decoder, paths[id(decoder)], config)
    names = _names(config, (*families, *MIXTURES))
    mixed = any(_named_experts(block) for block in blocks)
    banks = _banks_of(base, blocks) if mixed else ()
    sites = tuple(
        (*_clear_sites(blocks, names, config, banks), *mixture_sites(base, banks))
        if mixed
        else _find_sites(blocks, names, config, families)
    )
    embedding = language_model.get_input_embeddings()
    head = language_model.get_output_embeddings()
    return ModelLayout(
        family=config.model_type,
        blocks=tuple(block.path for block in blocks),
        sites=tuple(sorted(sites, key=canonical_order)),
        norms=tuple(_norms(decoder, paths[id(decoder)])),
        embedding=paths[id(embedding)],
        head=None if head is None else paths[id(head)],
        tied=head is not None and _weight(head) is _weight(embedding),
        uncovered=tuple(_uncovered(blocks, sites)),
        banks=banks,
    )


def _as_language_model(model: nn.Module) -> _LanguageModel:
    kind = type(model).__name__
    if not all(hasattr(model, name) for name in ("config", "get_decoder")):
        raise FamilyError(
            f"{kind} is no Hugging Face language model: it lacks `config` or "
            "`get_decoder`; load it with `AutoModelForCausalLM.from_pretrained`"
        )
    language_model = cast(_LanguageModel, model)
    if language_model.config.is_encoder_decoder:
        raise FamilyError(
            f"{kind} is an encoder-decoder model; only decoder-only models are read"
        )
    return language_model


def _find_blocks(decoder: nn.Module, path: str, config: _Config) -> list[_Block]:
    lists: dict[str, list[_Block]] = {}
    for list_path, module in own_modules(decoder, path):
        inside_other = any(list_path.startswith(f"{other}.") for other in lists)
        if isinstance(module, nn.ModuleList) and not inside_other:
            members = [
                _Block(
                    path=join(list_path, str(layer)),
                    layer=layer,
                    modules=dict(own_modules(member)),
                )
                for layer, member in enumerate(module)
            ]
            if members and all(member.maps() for member in members):
                lists[list_path] = members
    num_layers = getattr(config, "num_hidden_layers", None)
    chosen = [members for members in lists.values() if len(members) == num_layers]
    if not chosen:  # a layer of longcat_flash is two to its configuration
        chosen = [one for one in lists.values() if any(map(_named_experts, one))]
    if len(chosen) != 1:
        found = ", ".join(f"{name} ({len(lists[name])})" for name in lists) or "none"
        raise FamilyError(
            f"model type {config.model_type!r}: needs one `nn.ModuleList` of "
            f"{num_layers} blocks (`num_hidden_layers`), each with linear maps "
            f"inside; found {found}"
        )
    return chosen[0]


def _names(config: _Config, families: Sequence[Family]) -> dict[str, Part | Fused]:
    names: dict[str, Part | Fused] = dict(PLAIN.maps)
    for family in families:
        if family.name == config.model_type:
            names |= family.maps
    return names


def _find_sites(
    blocks: Iterable[_Block],
    names: Mapping[str, Part | Fused],
    config: _Config,
    families: Sequence[Family],
) -> Iterator[Site]:
    seen: set[int] = set()
    for block in blocks:
        maps = block.maps()
        try:
            parts = block_parts(maps, names, _num_heads(config))
        except UnclearPartsError as unclear:
            raise FamilyError(
                unknown_layout(config.model_type, block.path, maps, families)
                + f" What is unclear: {unclear}."
            ) from None
        new = [part for part in parts if id(block.modules[part.path]) not in seen]
        seen |= {id(block.modules[part.path]) for part in new}
        yield from (_site(block, part) for part in new)


def _clear_sites(
    blocks: Iterable[_Block],
    names: Mapping[str, Part | Fused],
    config: _Config,
    banks: Sequence[ExpertBank],
) -> Iterator[Site]:
    """Matrices of the blocks of a mixture, but for experts and their routers."""
    routers = [bank.router.path for bank in banks]
    try:
        num_heads = _num_heads(config)
    except FamilyError:
        num_heads = None
    for block in blocks:
        apart = [join(block.path, path) for path in _named_experts(block)] + routers
        maps = {
            path: shape
            for path, shape in block.maps().items()
            if not any(_is_in(join(block.path, path), one) for one in apart)
        }
        for part in clear_parts(maps, names, num_heads):
            yield _site(block, part)


def _banks_of(base: nn.Module, blocks: Sequence[_Block]) -> tuple[ExpertBank, ...]:
    return tuple(
        bank
        for bank in open_banks(base)
        if any(_is_in(bank.place.path, block.path) for block in blocks)
    )


def _is_in(path: str, holder: str) -> bool:
    return path == holder or path.startswith(f"{holder}.")


def _named_experts(block: _Block) -> list[str]:
    """Paths inside a block of what is called experts."""
    return [
        path
        for path, module in block.modules.items()
        if path.rpartition(".")[2] == "experts"
        or type(base_module(module)).__name__.endswith("Experts")
    ]


def _site(block: _Block, part: MapPart) -> Site:
    return Site(
        path=join(block.path, part.path),
        layer=block.layer,
        part=part.part,
        num_rows=part.num_rows,
        num_columns=part.num_columns,
        split=part.split,
        transposed=is_transposed(block.modules[part.path]),
        head_size=part.head_size,
    )


def _num_heads(config: _Config) -> int:
    try:
        num_heads = getattr(config, "num_attention_heads", None)
    except RuntimeError:  # transformers' answer where layers differ
        num_heads = "different from layer to layer"
    if not isinstance(num_heads, int):
        raise FamilyError(
            f"model type {config.model_type!r}: the config's `num_attention_heads` "
            f"is {num_heads}, so heads cannot be told apart; use a model with "
            "attention of one kind, or see docs/how-to/add-a-model-family.md"
        )
    return num_heads


def _own_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return base_module(module).named_parameters(recurse=False)


def _norms(decoder: nn.Module, path: str) -> Iterator[str]:
    for norm_path, module in own_modules(decoder, path):
        base = base_module(module)
        if "norm" in type(base).__name__.lower() and not base._modules:
            yield norm_path


def _weight(module: nn.Module) -> Tensor | None:
    return cast(Tensor | None, getattr(base_module(module), "weight", None))


def _uncovered(blocks: Iterable[_Block], sites: Sequence[Site]) -> Iterator[str]:
    covered = {join(site.path, site.tensor or "weight") for site in sites}
    # Biases of all experts of a bank make a table, but are no matrix.
    biases = {join(s.path, f"{s.tensor}_bias") for s in sites if s.expert is not None}
    for block in blocks:
        for path, module in block.modules.items():
            module_path = join(block.path, path)
            for name, parameter in _own_parameters(module):
                whole = join(module_path, name)
                if parameter.ndim >= 2 and whole not in covered | biases:
                    yield whole
