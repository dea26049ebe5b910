"""How are the rows of a data set on the Hugging Face hub read?

The library `datasets` also reads a local folder laid out like a hub repository.
"""

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted

if TYPE_CHECKING:
    import datasets

HUB_SOURCE = re.compile(
    r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<config>[\w.-]+))?(:(?P<split>[^:/]+))?"
)


def read_hub_rows(
    source: str, wanted: tuple[str, str] | None = None
) -> tuple[str, list[dict[str, object]]]:
    """Read one split of a data set, `train` unless the source says otherwise.

    Args:
        source: `OWNER/NAME[@CONFIG][:SPLIT]`, or a local folder.
        wanted: A column and what a row must hold there to be read; all are read by
            default.

    Returns:
        The short name, and the rows in order.

    Raises:
        DataError: The data set cannot be reached, does not exist, or has no such
            configuration or split.
    """
    # Local files need not pay the seconds that this import takes.
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    match = HUB_SOURCE.fullmatch(source)
    folder = Path(source).expanduser()
    if folder.is_dir() or match is None:
        name, config, split = str(folder), None, "train"
    else:
        name, config = match["name"], match["config"]
        split = match["split"] or "train"
    try:
        with _quiet():
            found = datasets.load_dataset(name, config, split=split)
            rows = _chosen(found, wanted).to_list()
    except DatasetNotFoundError as error:
        raise _not_there(source, error) from error
    except (ValueError, RuntimeError, FileNotFoundError, DatasetsError) as error:
        raise DataError(
            f"{source}: the data set cannot be read ({_first_line(error)}); write "
            "OWNER/NAME@CONFIG:SPLIT with one of its configurations and splits"
        ) from error
    except Exception as error:
        if not _is_of_the_network(error):
            raise
        raise DataError(
            f"{source}: there is no such file, and the hub cannot be reached; "
            "check the path or the network, or give a local file"
        ) from error
    return Path(name).name, rows


def _chosen(
    found: "datasets.Dataset", wanted: tuple[str, str] | None
) -> "datasets.Dataset":
    """Rows with a value, found by their column alone: a mixture may be large."""
    if wanted is None:
        return found
    column, value = wanted
    if column not in found.column_names:
        raise ValueError(f"it has no column {column}")
    places = [k for k, cell in enumerate(found[column]) if cell == value]
    return found.select(places)


def _not_there(source: str, error: Exception) -> DataError:
    if "gated" in str(error):
        return DataError(
            f"{source}: the data set is gated; ask for access on its page of the hub, "
            "then log in with `hf auth login` or set HF_TOKEN",
            topic="gated-model",
        )
    return DataError(
        f"{source}: there is no such file and no such data set on the hub; "
        "check the name, and log in with `hf auth login` if it is private"
    )


def _is_of_the_network(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno != errno.ENOSPC
    # What the hub library fetches with has had several names, and errors of its own.
    return type(error).__module__.partition(".")[0].startswith(("httpx", "httpcore"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep bars and retry notices back: the one sentence at the end says it all."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    datasets.disable_progress_bars()
    hub.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        hub.setLevel(level)
        if shown:
            datasets.enable_progress_bars()


def _first_line(error: Exception) -> str:
    return quoted(str(error).partition("\n")[0].rstrip("."), longest=200)
