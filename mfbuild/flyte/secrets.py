"""@secrets of the type `flyte`: what Flyte mounts, where Metaflow's own providers fetch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TYPE = "flyte"
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class FlyteSecret:
    """The value of `key` in the secret `group`, which a step finds in the variable `variable`."""

    group: str
    key: str
    variable: str


def flyte_secrets(sources: Sequence[Any]) -> tuple[FlyteSecret, ...]:
    """The Flyte secrets among the sources of @secrets, as Metaflow writes sources.

    A source is `"flyte.<group>/<key>"` or `{"type": "flyte", "id": "<group>/<key>", "options":
    {"variable": NAME}}`; the variable is the key's name if it is not given. ValueError for a
    source of this type that is anything else; other types are Metaflow's.
    """
    parsed = (_parse(source) for source in sources)
    return tuple(secret for secret in parsed if secret)


def _parse(source: Any) -> FlyteSecret | None:
    if isinstance(source, str):
        kind, _, identifier = source.partition(".")
        options: Any = {}
    else:
        kind, identifier = source.get("type"), source.get("id")
        options = source.get("options") or {}
    if kind != TYPE:
        return None
    group, _, key = str(identifier).partition("/")
    variable = str(options.get("variable", key))
    if not (_NAME.match(group) and _NAME.match(key) and _VARIABLE.match(variable)):
        raise ValueError(f"`{source}` is not a Flyte secret")
    return FlyteSecret(group, key, variable)
