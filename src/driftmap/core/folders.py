"""Where does driftmap keep things that belong to a person and not to one run?"""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Find the user's cache folder, which need not exist yet.

    It is `$DRIFTMAP_CACHE`, else `$XDG_CACHE_HOME/driftmap`, else `~/.cache/driftmap`.
    """
    if own := os.environ.get("DRIFTMAP_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "driftmap"
    return Path.home() / ".cache" / "driftmap"
