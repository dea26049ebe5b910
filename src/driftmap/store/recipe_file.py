"""How does a run remember its settings, so that they can be run again?

`run.yaml` holds the resolved recipe in the order of its fields, below its kind
and version. Secrets are left out: they come from the environment.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from driftmap.core.errors import StoreError
from driftmap.results.plain import to_plain
from driftmap.store.files import write_text
from driftmap.store.plain import VERSION

RECIPE_FILE = "run.yaml"
_SECRET = re.compile(
    r"token|(.*_)?(password|secret|api_?key|(access|api|auth|hf)_token)"
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRecipe:
    """A recipe as read from a file.

    Args:
        kind: Which recipe: the name of its command.
        settings: Its fields, plain.
    """

    kind: str
    settings: Mapping[str, object]


def plain_recipe(settings: Mapping[str, object]) -> dict[str, object]:
    """Turn a recipe's fields into what the file holds: plain, without secrets.

    >>> plain_recipe({"seeds": (0, 1), "hf_token": "x", "url": "http://me:x@host/v1"})
    {'seeds': [0, 1], 'url': 'http://host/v1'}
    """
    return cast(dict[str, object], _without_secrets(to_plain(settings)))


def save_recipe(path: Path, settings: Mapping[str, object], kind: str) -> None:
    """Write a recipe, whole or not at all, unless it stands there already."""
    plain = plain_recipe(settings)
    assert not {"kind", "version"} & set(plain), "kind and version are the format's own"
    # ASCII, since YAML loses some line ends of Unicode (U+0085) when left as they are.
    text = yaml.safe_dump(
        {"kind": kind, "version": VERSION, **plain},
        sort_keys=False,
        width=88,
    )
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def load_recipe(path: Path) -> SavedRecipe:
    """Read a recipe from `run.yaml` or from the run folder that holds it.

    Raises:
        StoreError: There is none, it is damaged, or it is of a newer version.
    """
    file = path / RECIPE_FILE if path.is_dir() else path
    try:
        whole = yaml.safe_load(file.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"{file}: there is no such file; name a run folder or a saved recipe"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{file}: is damaged or not YAML ({reason})") from error
    if not isinstance(whole, dict) or not isinstance(whole.get("kind"), str):
        raise StoreError(
            f"{file}: does not say which command it is for; "
            "it needs a line such as `kind: drift` at the top"
        )
    version = whole.get("version", VERSION)
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise StoreError(
            f"{file}: is of version {version}, this driftmap reads up to {VERSION}; "
            "use a newer driftmap"
        )
    settings = {k: v for k, v in whole.items() if k not in ("kind", "version")}
    return SavedRecipe(
        kind=whole["kind"], settings=cast(dict[str, object], to_plain(settings))
    )


def differing(
    old: Mapping[str, object], new: Mapping[str, object], free: Collection[str]
) -> list[str]:
    """Say which settings differ, by dotted name, but for the free ones.

    Args:
        old: Settings of the run.
        new: Settings of now.
        free: Dotted names that may differ, with all that lies under them.

    >>> differing({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 5, "c": 2}}, ("d",))
    ['a.b 1 (now 5)']
    """
    before, now = _flat(old), _flat(new)
    return [
        f"{name} {_shown(before, name)} (now {_shown(now, name)})"
        for name in _changed(before, now)
        if not lies_under(name, free)
    ]


def is_changed(old: Mapping[str, object], new: Mapping[str, object], name: str) -> bool:
    """Whether a setting differs, or one of those that lie under it.

    >>> is_changed({"a": {"b": 1}}, {"a": {"b": 2}}, "a")
    True
    """
    changed = _changed(_flat(old), _flat(new))
    return any(lies_under(each, (name,)) for each in changed)


def settings_under(settings: Mapping[str, object], names: Collection[str]) -> list[str]:
    """Dotted names of the settings that lie under any of `names`, in their order.

    >>> settings_under({"a": {"b": 1, "c": 2}, "d": 3}, ("d", "a"))
    ['a.b', 'a.c', 'd']
    """
    return [name for name in _flat(settings) if lies_under(name, names)]


def lies_under(name: str, names: Collection[str]) -> bool:
    """Whether a dotted name is among `names` or lies under one of them."""
    return any(name == above or name.startswith(f"{above}.") for above in names)


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Names that differ, those of before first."""
    names = [*before, *(name for name in now if name not in before)]
    absent = object()
    return [n for n in names if before.get(n, absent) != now.get(n, absent)]


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            flat.update(_flat(cast(Mapping[str, object], inner), f"{prefix}{name}."))
        else:
            flat[prefix + name] = inner
    return flat


def _shown(flat: Mapping[str, object], name: str) -> str:
    return str(flat[name]) if name in flat else "not set"


def _without_secrets(value: object) -> object:
    if isinstance(value, str):
        return _CREDENTIALS.sub("", value)
    if isinstance(value, Mapping):
        return {
            name: _without_secrets(inner)
            for name, inner in value.items()
            if not _SECRET.fullmatch(name.lower())
        }
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value
