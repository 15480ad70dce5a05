"""Texts in a pod: Kubernetes puts variables into command, args and env before a process starts.

`$(NAME)` stands for a variable and `$$` for `$` (kubernetes, third_party/forked/golang/expansion).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_DOLLAR = re.compile(rb"\$(?:(\$)|\(([^)]*)\)|([\x80-\xff]))")


def escaped(text: str) -> str:
    """What a template says for a process to be given `text`."""
    return text.replace("$", "$$")


def escaped_json(document: str) -> str:
    """The same JSON without a `$`, for an input that becomes an argument."""
    return document.replace("$", "\\u0024")


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """What a process is given where a template says `text`; an unknown `$(NAME)` stays.

    Kubernetes takes the byte behind any other `$` for a character, which spoils what is not ASCII.
    """

    def one(found: re.Match[bytes]) -> bytes:
        escape, name, byte = found.groups()
        if escape:
            return b"$"
        if byte:
            return b"$" + chr(byte[0]).encode()
        value = variables.get(_decoded(name))
        return found[0] if value is None else _encoded(value)

    return _decoded(_DOLLAR.sub(one, _encoded(text)))


def expanded_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """A process's variables of a template's, in its order: each may refer to earlier ones."""
    known: dict[str, str] = {}
    for name, value in variables.items():
        known[name] = expanded(value, known)
    return known


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
