"""Debian's control format (deb822, policy section 5.1): paragraphs of `Field: value`."""

from __future__ import annotations

from collections.abc import Iterator


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of `text`: lower-case field name -> value, continued lines joined by `\\n`.

    Lines that start with `#` are comments; a line without a colon is skipped.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    if fields:
        yield fields


def paragraph(text: str) -> dict[str, str]:
    """The first paragraph of `text`, empty if there is none."""
    return next(paragraphs(text), {})
