"""Files that are believed later: each carries the sha256 of its name and content.

One that does not is damaged: whoever finds it takes it for absent, makes it again where that is
possible, and says so. docs/reliability.md lists the files and what of each is believed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mfbuild.engine.foreign import parse_json
from mfbuild.files import write_atomically

CHECKSUM = "sha256"
"""The key of the checksum of a JSON object."""


class Damaged(ValueError):
    """A file is not what was written to it, or was written as another one."""

    def __init__(self) -> None:
        super().__init__("it is damaged")


def write_kept(path: Path, body: bytes, *, mode: int | None = 0o600) -> None:
    """Write `body` to `path` atomically, below a line with its checksum; OSError."""
    write_atomically(path, with_checksum(path.name, body), mode=mode)


def read_kept(path: Path) -> bytes:
    """What `write_kept` wrote to `path`; Damaged, OSError."""
    return checked(path.name, path.read_bytes())


def with_checksum(name: str, body: bytes) -> bytes:
    """`body` below a line that has its checksum as the content of `name`."""
    return b"%s\n%s" % (_checksum(name, body), body)


def checked(name: str, data: bytes) -> bytes:
    """The body of what `with_checksum` gave for `name`; Damaged."""
    line, _, body = data.partition(b"\n")
    if line != _checksum(name, body):
        raise Damaged
    return body


def kept_json(name: str, value: dict[str, Any], *, indent: int | None = None) -> str:
    """A JSON object with its checksum under `sha256`: for files that people read too."""
    return json.dumps({**value, CHECKSUM: _json_checksum(name, value)}, indent=indent)


def parse_kept_json(name: str, text: bytes | str) -> dict[str, Any]:
    """What `kept_json` was given for `name`; Damaged for any other text."""
    try:
        value = parse_json(text)
    except ValueError:
        raise Damaged from None
    if not isinstance(value, dict) or value.pop(CHECKSUM, None) != _json_checksum(name, value):
        raise Damaged
    return value


def _checksum(name: str, body: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + body).hexdigest().encode()


def _json_checksum(name: str, value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return _checksum(name, text.encode()).decode()
