"""What does an adapter's configuration promise, and is it LoRA, rsLoRA or DoRA?"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from driftmap.core.errors import ModelError
from driftmap.results.freezing import MASKED_CONFIG

# Ways of starting that rewrite the base model, so that "no change" is not BA = 0.
REWRITING_STARTS = ("pissa", "olora", "corda", "lora_ga", "loftq")

# Options that change what is added to a matrix, or which matrix there is.
_NOT_PLAIN = (
    "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config",
    "kasa_config", "monteclora_config", "velora_config", "layer_replication",
    "target_parameters", "megatron_config",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """The part of `adapter_config.json` that decides what an adapter adds.

    Args:
        folder: Where it was read.
        base_name: Model that the adapter says it was made for; empty if it does not.
        peft_type: Kind of adapter, `LORA` for all that pass `must_be_lora`.
        settings: The whole file.
    """

    folder: Path
    base_name: str
    peft_type: str
    settings: Mapping[str, object]

    def rank(self, path: str) -> int:
        """Rank of one module's factors."""
        return int(self._number(path, "rank_pattern", "r"))

    def scale(self, path: str) -> float:
        """What `up @ down` is multiplied by: alpha / r, or alpha / sqrt(r)."""
        alpha, rank = self._number(path, "alpha_pattern", "lora_alpha"), self.rank(path)
        return (
            alpha / math.sqrt(rank) if self.settings.get("use_rslora") else alpha / rank
        )

    @property
    def rewriting_start(self) -> str | None:
        """Name of the start that rewrote the base model, if it was one of those."""
        start = str(self.settings.get("init_lora_weights"))
        return start if start.startswith(REWRITING_STARTS) else None

    def _number(self, path: str, pattern: str, default: str) -> float:
        patterns = cast(Mapping[str, float], self.settings.get(pattern) or {})
        try:
            own = [v for k, v in dict(patterns).items() if _matches(k, path)]
            value = float([*own, cast(float, self.settings.get(default))][0])
        except (TypeError, ValueError, re.error):
            value = math.nan
        if not math.isfinite(value) or (default == "r" and value < 1):
            raise ModelError(
                f"{self.folder}: adapter_config.json has no usable `{default}` "
                f"({self.settings.get(default)!r}); save the adapter again with peft"
            )
        return value


def _matches(key: str, path: str) -> bool:
    return re.match(rf"(.*\.)?({key})$", path) is not None


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read `adapter_config.json`.

    Raises:
        ModelError: The folder or the file is missing, or it is not an adapter's.
    """
    file = folder / "adapter_config.json"
    if (folder / MASKED_CONFIG).is_file():
        raise ModelError(
            f"{folder}: its adapter leaves frozen weights alone, which no plain "
            "adapter does; give the model that `driftmap drift --merged` wrote instead"
        )
    if not file.is_file():
        raise ModelError(
            f"{folder}: there is no adapter (adapter_config.json is missing); give the "
            "folder that `save_pretrained` of a PEFT model wrote"
        )
    try:
        settings = json.loads(file.read_text())
        peft_type = str(settings["peft_type"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{file}: it is no adapter configuration; save the adapter again with peft"
        ) from error
    return AdapterConfig(
        folder=folder,
        base_name=str(settings.get("base_model_name_or_path") or ""),
        peft_type=peft_type,
        settings=settings,
    )


def must_be_lora(config: AdapterConfig) -> None:
    """Refuse, by name, what is not plain or rank-scaled LoRA, or DoRA.

    Raises:
        ModelError: Another kind of adapter, or an option that changes its arithmetic.
    """
    if config.peft_type != "LORA":
        raise ModelError(
            f"{config.folder}: a {config.peft_type} adapter cannot be measured from "
            "its factors; tune with LoRA or DoRA, or merge it in float32 and give the "
            "merged model as a checkpoint"
        )
    for option in _NOT_PLAIN:
        if config.settings.get(option):
            raise ModelError(
                f"{config.folder}: LoRA with `{option}` adds something other than "
                "scale * B @ A and cannot be measured from its factors; tune without it"
            )
