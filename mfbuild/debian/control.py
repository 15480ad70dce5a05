"""Debian's control format (deb822, policy section 5.1): paragraphs of `Field: value`."""

from __future__ import annotations

from collections.abc import Iterator

_SPACE = " \t\r"


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of `text`: lower-case field name -> value, continued lines joined by `\\n`.

    Lines that start with `#` are comments; a line without a colon is skipped. Only `\\n` and
    `\\r\\n` end a line: a form feed or U+2028 is part of a value.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if line.startswith("#"):
            continue
        if not line.strip(_SPACE):
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line.strip(_SPACE)
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip(_SPACE).lower()
            fields[name] = value.strip(_SPACE)
    if fields:
        yield fields


def paragraph(text: str) -> dict[str, str]:
    """The first paragraph of `text`, empty if there is none."""
    return next(paragraphs(text), {})
