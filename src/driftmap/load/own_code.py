"""How is a person's own Python file run, and its mistakes told in one sentence?"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from driftmap.core.errors import DataError, DriftmapError
from driftmap.core.quoted import quoted

_MODULE = "_driftmap_own_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonFile:
    """A file that was run.

    Args:
        path: As the user gave it.
        module: What it defines.
    """

    path: Path
    module: ModuleType


@contextmanager
def opened(path: Path) -> Iterator[PythonFile]:
    """Run a file, and keep its folder importable for as long as the block runs.

    What it prints goes to standard error: standard output is the command's own. The
    working folder is put back.

    Args:
        path: The file. Modules beside it are forgotten afterwards, so that those of
            another folder may have the same names.

    Raises:
        DataError: There is no such file, or its code is wrong or raises.
    """
    code = _compiled(path)
    folder = path.expanduser().resolve().parent
    module = ModuleType(_MODULE)
    module.__file__ = code.co_filename
    file = PythonFile(path=path, module=module)
    before, known, here = list(sys.path), set(sys.modules), Path.cwd()
    sys.path.insert(0, str(folder))
    sys.modules[_MODULE] = module
    importlib.invalidate_caches()
    try:
        with redirect_stdout(sys.stderr):
            with explained(file, "running the file"):
                exec(code, vars(module))
            yield file
    finally:
        os.chdir(here)
        sys.path[:] = before
        del sys.modules[_MODULE]
        for name in set(sys.modules) - known:
            if str(folder) not in before and _is_beside(sys.modules[name], folder):
                del sys.modules[name]


@contextmanager
def explained(file: PythonFile, what: str) -> Iterator[None]:
    """Tell what the person's code raises inside the block in one sentence.

    Raises:
        DataError: With the kind of error, what it says and the line of the file.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit, DriftmapError):
        raise
    except SyntaxError as error:
        raise _syntax(file.path, error) from error
    except BaseException as error:
        line = _last_line(error.__traceback__, str(file.module.__file__))
        said = _words_of(error)
        raise DataError(
            f"{file.path}: line {line}: {what} raised {type(error).__name__}"
            f"{f' ({quoted(said, longest=200)})' if said else ''}; mend the file"
        ) from error


def _words_of(error: BaseException) -> str:
    """What an error says; nothing where its own code fails at that."""
    try:
        return " ".join(str(error).split())
    except Exception:  # noqa: BLE001  a person's class may raise anything here
        return ""


def _compiled(path: Path) -> CodeType:
    where = path.expanduser()
    try:
        content = where.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such file; check the path before the colon"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: it cannot be read ({error.strerror}); check its permissions"
        ) from error
    try:
        return compile(content, str(where.resolve()), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _syntax(path, error) from error
    except (ValueError, RecursionError, MemoryError) as error:
        reason = quoted(str(error)) or "nested too deep"
        raise DataError(
            f"{path}: it is not Python ({reason}); is it the right file?"
        ) from error


def _syntax(path: Path, error: SyntaxError) -> DataError:
    where = f"line {error.lineno}"
    if error.filename and Path(error.filename).name != path.name:
        where = f"line {error.lineno} of {Path(error.filename).name}, which it imports,"
    return DataError(f"{path}: {where} is not Python ({quoted(error.msg)}); mend it")


def _last_line(traceback: TracebackType | None, file: str) -> int:
    """Line of the person's file that was running when the error came."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _is_beside(module: ModuleType, folder: Path) -> bool:
    """Whether a module is a file of the folder, or in a package that lies there."""
    top = module.__name__.partition(".")[0]
    # A folder without `__init__.py` is a package that has a path and no file.
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(
        Path(place) == folder / f"{top}.py" or (folder / top) in _upwards(Path(place))
        for place in places
        if isinstance(place, str)
    )


def _upwards(path: Path) -> tuple[Path, ...]:
    return (path, *path.parents)
