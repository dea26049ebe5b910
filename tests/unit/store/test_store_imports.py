import subprocess
import sys

MODULES = (
    "codec", "drift_logs", "files", "groups", "interop", "json_members", "json_scan",
    "log", "pair_json", "pair_json_export", "pair_products", "plain", "provenance",
    "recipe_file", "run_dir", "scores", "steps", "tables",
)  # fmt: skip


def test_keeping_results_imports_no_model_code():
    code = (
        "import importlib, sys\n"
        f"for name in {MODULES}: importlib.import_module('driftmap.store.' + name)\n"
        "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
