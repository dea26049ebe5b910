"""Which data sets does driftmap know by name, and which are on this machine?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DataList:
    """List the data sets that have a name here: what each is, whose, and where.

    A name works wherever a file does, as in `--behaviour align`.
    """

    def run(self) -> str:
        """Look for every set on this machine; nothing is downloaded.

        Returns:
            The list, as wide as the terminal.
        """
        from driftmap.load.known_sets import KNOWN_SETS

        return "\n".join(known.name for known in KNOWN_SETS)
