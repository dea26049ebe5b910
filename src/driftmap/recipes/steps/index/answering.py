"""How is the answer of a search shown, and kept?"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from driftmap.recipes.steps.index.searching import Answer
from driftmap.results.index import IndexedSample
from driftmap.results.index_search import NOBODY
from driftmap.results.table import Cell, Table
from driftmap.store.files import write_text
from driftmap.store.plain import save_json, sorted_json
from driftmap.store.tables import save_table

KIND = "driftmap.index-search"
_SHOWN = 60
_NARROW = 60


def rows_of(
    answer: Answer, tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Cell]]:
    """One row per query and sample found.

    Args:
        answer: What was found.
        tokenizer: Turns the samples' tokens into text.
    """
    return list(_rows(answer, tokenizer))


def save(
    out: Path,
    answer: Answer,
    rows: list[dict[str, Cell]],
    settings: Mapping[str, object],
) -> None:
    """Write `answers.jsonl`, `answers.parquet` and `search.json` into a folder.

    Args:
        out: The folder.
        answer: What was found.
        rows: The same, row by row.
        settings: What was looked for, where and how.

    Raises:
        StoreError: The disk refuses.
    """
    lines = "".join(sorted_json(row) + "\n" for row in rows)
    write_text(out / "answers.jsonl", lines)
    save_table(out / "answers.parquet", Table.from_rows(rows))
    ranking = answer.ranking
    queries = {
        name: {
            "num_measured": int(ranking.num_measured[number]),
            "is_settled": bool(ranking.is_settled[number]),
        }
        for number, name in enumerate(answer.queries)
    }
    told = {
        **settings,
        "num_samples": answer.num_samples,
        "queries": queries,
        "tensors": {
            name: {"standard_error": float(error)}
            for name, error in zip(answer.tensors, answer.errors, strict=True)
        },
    }
    save_json(out / "search.json", told, KIND)


def as_text(answer: Answer, rows: list[dict[str, Cell]]) -> str:
    """Show the answer to a person: a table, and how exact it is."""
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else None
    narrow = width is not None and width < _NARROW
    shown = [_cells(row) for row in rows]
    table = _blocks(shown) if narrow else _table(shown, width)
    return "\n\n".join([table, " ".join(_remarks(answer))])


def _rows(
    answer: Answer, tokenizer: PreTrainedTokenizerBase
) -> Iterator[dict[str, Cell]]:
    ranking = answer.ranking
    for number, query in enumerate(answer.queries):
        for rank, sample_number in enumerate(ranking.samples[number].tolist()):
            if sample_number == NOBODY:
                continue
            sample = answer.samples[sample_number]
            prompt, response = _texts(sample, tokenizer)
            yield {
                "query": query,
                "rank": rank + 1,
                "sample": sample.id,
                "cosine": float(ranking.score[number, rank]),
                "standard_error": float(ranking.error[number, rank]),
                "exact": bool(ranking.is_exact[number, rank]),
                "original_id": sample.original_id,
                "version": sample.version,
                "number": sample_number,
                "prompt": prompt,
                "response": response,
            }


def _texts(
    sample: IndexedSample, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, str]:
    cut = sample.prompt_length
    halves = sample.token_ids[:cut], sample.token_ids[cut:]
    prompt, response = (
        str(tokenizer.decode(list(half), skip_special_tokens=True)) for half in halves
    )
    return prompt.strip(), response.strip()


def _cells(row: Mapping[str, Cell]) -> dict[str, str]:
    error = f" ± {row['standard_error']:.2f}" if not row["exact"] else ""
    text = " ".join(f"{row['prompt']} | {row['response']}".split())
    return {
        "query": str(row["query"]),
        "rank": str(row["rank"]),
        "sample": str(row["sample"]),
        "cosine": f"{row['cosine']:.4f}{error}",
        "text": text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...",
    }


def _remarks(answer: Answer) -> Iterator[str]:
    ranking = answer.ranking
    num = len(answer.queries)
    samples = f"{answer.num_samples:,} samples"
    if ranking.num_measured.any():
        yield (
            f"The best of {samples} by the index; cosines are exact, measured for "
            f"{int(ranking.num_measured.sum())} pairs of {num} queries."
        )
        open_ones = [
            name
            for name, settled in zip(answer.queries, ranking.is_settled, strict=True)
            if not settled
        ]
        if open_ones:
            shown = ", ".join(open_ones[:3]) + (", ..." if len(open_ones) > 3 else "")
            yield (
                f"--max-rerank was reached for {len(open_ones)} of them ({shown}): "
                "a better sample may have been left out."
            )
    else:
        yield (
            f"The best of {samples} by the index; cosines are estimates, ± their "
            "standard error."
        )


def _table(rows: list[dict[str, str]], width: int | None) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable

    table = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    titles = list(rows[0]) if rows else []
    for title in titles:
        right = title in ("rank", "cosine")
        table.add_column(
            title,
            overflow="fold",
            justify="right" if right else "left",
            no_wrap=title in ("rank", "cosine"),
        )
    for row in rows:
        table.add_row(*row.values())
    widest = 2 + sum(max([len(t), *(len(r[t]) for r in rows)]) + 3 for t in titles)
    console = Console(
        width=width or widest, color_system=None, markup=False, emoji=False
    )
    with console.capture() as captured:
        console.print(table)
    lines = (line.rstrip() for line in captured.get().splitlines())
    return "\n".join(line for line in lines if line)


def _blocks(rows: list[dict[str, str]]) -> str:
    return "\n".join(
        f"{row['query']} #{row['rank']}: {row['sample']} {row['cosine']}\n"
        f"  {row['text']}"
        for row in rows
    )
