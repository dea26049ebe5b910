"""How is the command line started as a module, as launchers of processes do?"""

import sys

from driftmap.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
