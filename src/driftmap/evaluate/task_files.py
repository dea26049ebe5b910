"""How are items of our own handed to lm-eval? As tasks in files."""

import json
from collections.abc import Sequence
from pathlib import Path

from driftmap.results.utility import ChoiceItem


def write_tasks(items: Sequence[ChoiceItem], folder: Path) -> tuple[str, ...]:
    """Write one YAML file and one file of items per task.

    Args:
        items: Of one task or several.
        folder: Where the files go; lm-eval's cache of them goes there too.

    Returns:
        Names of the tasks, in the order of their first items.
    """
    tasks = tuple(dict.fromkeys(item.task for item in items))
    for task in tasks:
        rows = [
            {
                "id": item.item_id,
                "context": item.context,
                "choices": list(item.choices),
                "answer": item.answer,
            }
            for item in items
            if item.task == task
        ]
        file = folder / f"{task}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        # JSON is YAML too.
        settings = json.dumps(_settings(task, file, folder), indent=2) + "\n"
        (folder / f"{task}.yaml").write_text(settings)
    return tasks


def _settings(task: str, file: Path, folder: Path) -> dict[str, object]:
    return {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(file)},
            "cache_dir": str(folder / "cache"),
        },
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "num_fewshot": 0,
        "metric_list": [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
        ],
    }
