"""Which options does the question of where a change acts have?"""

from dataclasses import dataclass

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class WhereOptions:
    """How much is exchanged, mixed and traced."""

    num_asked: int = 24
    """Facts, or requests of each set, that are asked while layers are exchanged, the
    first ones (count)."""

    num_traced: int = 8
    """Facts or requests that are traced, the first ones (count)."""

    num_draws: int = 5
    """Draws of noise behind a trace (count)."""

    window: int | None = None
    """Layers that are exchanged or put back together where more than one is (count); by
    default a fifth of the model's, at least 1."""

    mix: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
    """Shares of the change that models between the two and beyond have (share)."""

    num_tokens: int = 12
    """Tokens of what a model says of its own that count (count)."""

    batch_size: int = 32
    """Prompts asked at a time; changes speed and memory, not what comes out (count)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--num-asked", self.num_asked, 1)
        require_at_least("--num-traced", self.num_traced, 1)
        require_at_least("--num-draws", self.num_draws, 1)
        require_at_least("--num-tokens", self.num_tokens, 1)
        require_at_least("--batch-size", self.batch_size, 1)
        if self.window is not None:
            require_at_least("--window", self.window, 1)
        if any(
            later <= one for one, later in zip(self.mix, self.mix[1:], strict=False)
        ):
            raise UsageError(
                f"--mix has {' '.join(map(str, self.mix))}; give ascending shares"
            )

    def window_of(self, num_layers: int) -> int:
        """Layers that go together.

        >>> WhereOptions().window_of(12), WhereOptions(window=3).window_of(12)
        (2, 3)
        """
        return max(1, num_layers // 5) if self.window is None else self.window
