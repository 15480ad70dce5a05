"""What a base image says of the Python in it, by its variables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mfbuild.oci.types import ForeignBase


@dataclass(frozen=True, slots=True)
class ForeignPython:
    """What a base image says of its Python: `major.minor`, the whole version (`3.11.9`), and the
    interpreter's path in it."""

    python: str | None
    release: str | None
    interpreter: str | None


def describe_foreign(base: ForeignBase) -> ForeignPython:
    """What the variables of `base` tell of its Python, as the official images set them.

    PYTHON_VERSION=3.11.9 and PATH=/usr/local/bin:… -> 3.11, 3.11.9, /usr/local/bin/python3.11.
    """
    env = dict(entry.partition("=")[::2] for entry in base.env)
    release = env.get("PYTHON_VERSION", "")
    parts = release.split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return ForeignPython(None, None, None)
    python = f"{parts[0]}.{parts[1]}"
    folder = env.get("PATH", "").partition(":")[0].rstrip("/")
    return ForeignPython(
        python,
        release if re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", release) else None,
        f"{folder}/python{python}" if folder.startswith("/") else None,
    )
