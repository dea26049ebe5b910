"""Which words does the command line understand? Writes `docs/reference/cli.md`.

Run `python docs/make_reference.py` after a change of an option; a test fails when the
page is behind the code.
"""

import re
from pathlib import Path

from driftmap.cli.commands import DEFAULTS_NOTE, app

PAGE = Path(__file__).parent / "reference/cli.md"
NOTE = f"""# Command line

Made by `python docs/make_reference.py` from the code: change the code, not this page.

`--debug` may follow any command: an error then shows where it came from. The exit code
is 0 after success, 2 where the words, a recipe or a setting cannot be meant, 1 where
data, a model or a file cannot be used, and 130 after an interruption.

{DEFAULTS_NOTE}
"""


def cli_page() -> str:
    """Write the page from the options of every command."""
    made = app.generate_docs(include_hidden=True)
    # Its own command behind the scenes, an option of `drift` for a person.
    made = made.replace("## driftmap drift-logs", "## driftmap drift --drift-logs")
    _, found, commands = made.partition("## driftmap demo")
    assert found, "the first command is no longer `demo`"
    # The usage lines depend on how Python was started, and say nothing new.
    text = re.sub(r"```console\n.*?```\n\n", "", found + commands, flags=re.DOTALL)
    # An option is one line, however its sentence is broken in the code.
    text = re.sub(r"\n {2,}(?=\S)", " ", text)
    return f"{NOTE}\n{text.strip()}\n"


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
