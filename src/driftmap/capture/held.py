"""How many bytes of tensors does a piece of work hold at every moment?"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@contextmanager
def holding() -> Iterator[list[int]]:
    """Count what tensors made inside the block hold, after each of its operations.

    Autograd's backward counts too; what a single operation takes and gives back
    inside does not. Memory of the machine that no operation has written takes none.

    Yields:
        A list that grows by one number of bytes per operation.

    >>> import torch
    >>> with holding() as moments:
    ...     kept = torch.ones(4) + 1
    >>> moments
    [16, 32]
    """
    with _Holding() as mode:
        yield mode.moments


class _Holding(TorchDispatchMode):
    """Follows the memory behind each new tensor until it is given back."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[int] = []
        self._held = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        given = {_key(tensor) for tensor in _tensors((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        is_blank = func.overloadpacket.__name__.startswith(("empty", "new_empty"))
        for tensor in _tensors(out):
            self._take(tensor, given, is_blank=is_blank)
        if any(r.alias_info and r.alias_info.is_write for r in func._schema.returns):
            for tensor in _tensors(out):
                self._write(tensor)
        self.moments.append(self._held)
        return out

    def _take(self, tensor: Tensor, given: set[int], *, is_blank: bool) -> None:
        key = _key(tensor)
        if key in self._sizes or key in given:
            return
        storage = tensor.untyped_storage()
        # The system gives pages of the machine's memory when they are written.
        lazy = is_blank and tensor.device.type == "cpu"
        self._sizes[key] = 0 if lazy else storage.nbytes()
        self._held += self._sizes[key]
        weakref.finalize(storage, self._give_back, key).atexit = False

    def _write(self, tensor: Tensor) -> None:
        key = _key(tensor)
        written = tensor.numel() * tensor.element_size()
        if written > self._sizes.get(key, written):
            self._held += written - self._sizes[key]
            self._sizes[key] = written

    def _give_back(self, key: int) -> None:
        self._held -= self._sizes.pop(key)


def _tensors(values: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
