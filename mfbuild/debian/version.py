"""The order of Debian versions (policy section 5.6.12, deb-version(7))."""

from __future__ import annotations

import re
from typing import Any

_PART = re.compile(r"(\D*)(\d*)")


def version_key(version: str) -> tuple[Any, ...]:
    """A sort key: `1.0~rc1 < 1.0 < 1.0-1 < 1.0+b1 < 1:0`; ValueError for an epoch not a number."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, "0"
    return int(epoch), _parts(upstream), _parts(revision)


def _parts(text: str) -> tuple[Any, ...]:
    """Alternating text and number; the empty match at the end makes `~` sort before the end."""
    return tuple((_weights(word), int(number or 0)) for word, number in _PART.findall(text))


def _weights(word: str) -> tuple[int, ...]:
    """`~` sorts before the end of a word, the end before letters, letters before the rest."""
    weights = (-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in word)
    return (*weights, 0)
