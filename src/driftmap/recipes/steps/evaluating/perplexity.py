"""How well does each model of an evaluation foresee the texts?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from transformers import PreTrainedModel

from driftmap.core.errors import UsageError
from driftmap.core.progress import say
from driftmap.core.shortage import explained
from driftmap.evaluate.perplexity import text_perplexity
from driftmap.load.long_text import LongText, encode_text
from driftmap.recipes.steps.evaluating.shelf import Desk, Shelf
from driftmap.results.evaluation import Which
from driftmap.results.perplexity import PerplexityReading
from driftmap.results.table import Table
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table

WINDOW = 2048
"""Tokens, as most published perplexities have it."""


def window_for(asked: int | None, desks: Sequence[Desk]) -> int:
    """Choose the window that all models read.

    Args:
        asked: What `--window` says.
        desks: The models.

    Raises:
        UsageError: A model reads fewer tokens at once than are asked for.
    """
    known = [(d.context_length, d) for d in desks if d.context_length is not None]
    shortest = min(known, key=lambda one: one[0], default=None)
    if shortest is None or shortest[0] >= (asked or WINDOW):
        return asked or WINDOW
    length, desk = shortest
    if asked is not None:
        raise UsageError(
            f"--window {asked}: {desk.identity.source} reads at most {length} tokens "
            f"at once; give at most {length}"
        )
    say(
        f"perplexity is read in windows of {length} tokens, the most that "
        f"{desk.identity.source} reads at once; numbers for {WINDOW:,} do not compare"
    )
    return length


def perplexity_step(
    run: RunDir, shelf: Shelf, model: Which, texts: Sequence[LongText], window: int
) -> StepOutcome:
    """Read the perplexity of one model on every text."""
    desk = shelf.desk(model)

    def make(folder: Path) -> None:
        loaded = shelf.take(model)
        readings = []
        for text in texts:
            encoded = encode_text(text, loaded.tokenizer)
            with explained("perplexity", "repeat with a smaller --window"):
                reading = text_perplexity(
                    cast(PreTrainedModel, loaded.model),
                    encoded,
                    window,
                    # Small windows leave a device idle, one by one.
                    batch_size=max(1, WINDOW // window),
                )
            readings.append(reading)
        save_table(folder / perplexity_file(model), _table(readings))

    inputs = {
        "model": [desk.identity.sha256, desk.identity.dtype],
        "texts": [[text.name, text.sha256] for text in texts],
        "window": window,
    }
    return run.step(f"perplexity-{model}", inputs, make)


def load_perplexities(step: StepOutcome, model: Which) -> dict[str, PerplexityReading]:
    """Text -> reading of one model, in the order of the texts."""
    table = load_table(step.path(perplexity_file(model)))
    return {
        str(text): _reading(table.where(text=text)) for text in table.unique("text")
    }


def perplexity_file(model: Which) -> str:
    """Where the windows of one model are kept."""
    return f"tables/perplexity/{model}.parquet"


def _table(readings: Sequence[PerplexityReading]) -> Table:
    return Table.from_rows(
        [
            {
                "text": reading.text,
                "window": reading.window,
                "num_dropped": reading.num_dropped,
                "num_bytes": reading.num_bytes,
                "number": number,
                "nll_nats": nll,
            }
            for reading in readings
            for number, nll in enumerate(reading.nll_nats.tolist())
        ]
    )


def _reading(rows: Table) -> PerplexityReading:
    first: Mapping[str, object] = next(rows.rows())
    return PerplexityReading(
        text=str(first["text"]),
        window=int(str(first["window"])),
        num_dropped=int(str(first["num_dropped"])),
        num_bytes=int(str(first["num_bytes"])),
        nll_nats=rows["nll_nats"].astype(np.float64),
    )
