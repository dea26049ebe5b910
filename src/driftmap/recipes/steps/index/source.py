"""Which samples are indexed or looked for? They are read before any model is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass

from driftmap.load.own_ids import Version
from driftmap.load.paired_sets import Taking, read_set
from driftmap.recipes.index_options import TokenOptions, TooLong
from driftmap.results.index import IndexSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where samples come from; enough to read them again elsewhere.

    Args:
        data: As the user named it.
        columns: The file's columns by the names that shapes know.
        num_samples: How many are drawn; all by default.
        seed: Decides which.
        tokens: How they become tokens.
    """

    data: str
    columns: Mapping[str, str]
    num_samples: int | None
    seed: int
    tokens: TokenOptions

    def read(self) -> Version:
        """Read the samples.

        Raises:
            DataError: The source cannot be used.
        """
        taking = Taking(
            num_samples=self.num_samples,
            seed=self.seed,
            loss_on=self.tokens.loss_on,
            columns=self.columns,
        )
        return read_set(self.data, taking)


def tokens_of(settings: IndexSettings, too_long: TooLong) -> TokenOptions:
    """Say how samples become tokens for an index.

    Args:
        settings: What the index says of it.
        too_long: What becomes of long samples now.
    """
    assert settings.template in (None, "tulu")
    return TokenOptions(
        template=settings.template, loss_on=settings.loss_on, too_long=too_long
    )
