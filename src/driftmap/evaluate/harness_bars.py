"""How is the progress of another library's loops told in our way?

lm-eval draws bars of tqdm. While the block runs, its modules find a class here under
that name, which tells our listeners instead.
"""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from driftmap.core.progress import Progress, progress

_PACKAGE = "lm_eval"
_LOUD = (_PACKAGE, "huggingface_hub", "datasets")


@contextmanager
def told_in_our_way() -> Iterator[None]:
    """Keep bars and log lines of lm-eval back, and tell its progress ourselves."""
    import datasets

    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == _PACKAGE and hasattr(module, "tqdm")
    ]
    own = {module.__name__: module.tqdm for module in modules}
    levels = {name: logging.getLogger(name).level for name in _LOUD}
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    with ExitStack() as loops:
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        for module in modules:
            module.tqdm = _bars(loops)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            for module in modules:
                module.tqdm = own[module.__name__]  # pyright: ignore[reportAttributeAccessIssue]
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if shown:
                datasets.enable_progress_bars()


def _bars(loops: ExitStack) -> "type[_Bar]":
    """A class of bars that end with the stack where nobody closed them."""

    class Bar(_Bar):
        stack = loops

    return Bar


class _Bar:
    """As much of tqdm as lm-eval asks for."""

    stack: ExitStack

    def __init__(
        self,
        iterable: Iterable[object] | None = None,
        *,
        total: int | None = None,
        desc: str = "",
        **_: object,
    ) -> None:
        self._iterable = iterable
        size = getattr(iterable, "__len__", lambda: 0)() if total is None else total
        self._loop = ExitStack()
        self._bar: Progress = self._loop.enter_context(
            progress(desc.lower() or "prepare items", size)
        )
        self.stack.callback(self._loop.close)

    def __iter__(self) -> Iterator[object]:
        for one in self._iterable or ():
            yield one
            self.update()
        self.close()

    def update(self, steps: int = 1) -> None:
        """Move on."""
        self._bar.advance(steps)

    def close(self) -> None:
        """End; a second time changes nothing."""
        self._loop.close()
