"""References to images: `host[:port]/path[:tag][@sha256:…]` and `oci:DIR[@sha256:…]`.

Where a file may be meant as well, `oci://` goes before the former.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mfbuild.engine.model import Digest
from mfbuild.errors import UsageError

LAYOUT = "oci:"
REMOTE = "oci://"

# The grammar of the distribution project's `reference` package.
_HOST = re.compile(
    r"(?:localhost|\[[0-9a-fA-F:]+\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)(?::[0-9]{1,5})?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
# What is before a host; a layout's directory may be called anything.
_LOGIN = re.compile(r"(?!oci:[^/]|oci:/[^/])([a-z][a-z0-9+.-]*://)?[^/@]*@(?!sha256:)")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image: `repository` is `host/path`, or `oci:<directory>` for a layout on disk."""

    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference; ValueError if it is anything else. The host is never implied."""
        _refuse_login(text)
        name, at, pinned = text.rpartition("@")
        if text.startswith(REMOTE):
            raise ValueError(f"`{text}` is neither an image's name nor a layout on disk")
        if text.startswith(LAYOUT):
            found = at and pinned.startswith("sha256:")
            name, digest = (name, Digest.parse(pinned)) if found else (text, None)
            if name == LAYOUT or "\0" in name:
                raise ValueError(f"`{text}` names no directory")
            return cls(name, None, digest)
        digest = Digest.parse(pinned) if at else None
        host, slash, rest = (name if at else text).partition("/")
        path, colon, tag = rest.partition(":")
        if not slash or not _is_host(host):
            raise ValueError(f"`{text}` does not start with a registry's host name")
        if not _PATH.fullmatch(path) or len(path) > 255:
            raise ValueError(f"`{text}` has no valid repository after its host")
        if colon and not _TAG.fullmatch(tag):
            raise ValueError(f"`{text}` has no valid tag")
        return cls(f"{host}/{path}", tag or None, digest)

    @classmethod
    def pinned(cls, text: str) -> Reference:
        """Read a reference that must have a digest; UsageError if it is wrong or has none."""
        try:
            found = cls.parse(text)
        except ValueError as error:
            raise UsageError(str(error), hint=_FORMS) from error
        if found.digest is None:
            raise UsageError(f"`{text}` does not name its image by digest", hint=_FORMS)
        return found

    @classmethod
    def remote(cls, text: str, *, bare: bool = False) -> Reference:
        """Read `oci://host[:port]/path`, with a tag or a digest; UsageError if it is wrong.

        A `bare` one may be without either: what it names is still to be.
        """
        try:
            if not text.startswith(REMOTE):
                _refuse_login(text)
                raise ValueError(f"`{text}` does not start with `{REMOTE}`")
            found = cls.parse(text.removeprefix(REMOTE))
            if found.directory is not None or not (found.tag or found.digest or bare):
                raise ValueError(f"`{text}` has neither a tag nor a digest")
        except ValueError as error:
            raise UsageError(str(error), hint=_REMOTE_FORMS) from error
        return found

    @property
    def directory(self) -> Path | None:
        """The layout's directory; None for an image in a registry."""
        local = self.repository.startswith(LAYOUT)
        return Path(self.repository[len(LAYOUT) :]) if local else None

    @property
    def host(self) -> str:
        """The registry's `host[:port]`."""
        return self.repository.partition("/")[0]

    @property
    def path(self) -> str:
        """The repository's path in its registry."""
        return self.repository.partition("/")[2]

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return self.repository + tag + (f"@{self.digest}" if self.digest else "")


def repository_name(name: str) -> str:
    """How a Python name is spelled as the last part of a repository: one to one, but for case.

    In lower case where that is a valid one, which holds for most. Else what no repository can have
    there stands between hyphens, which no Python name has: `_Private` is `1u-private` (one
    underscore), `a___b` is `a-3u-b`, `é` is `233x` (the character's number).
    """
    lower = name.lower()
    if re.fullmatch(_COMPONENT, lower):
        return lower
    spelled = _SPELLED.sub(_escaped, lower)
    return spelled.removeprefix("-").removesuffix("-")


_SPELLED = re.compile(r"^_+|_+$|_{3,}|[^a-z0-9_]|(?<=[^a-z0-9_])_+|_+(?=[^a-z0-9_])")


def _escaped(match: re.Match[str]) -> str:
    text = match[0]
    return f"-{len(text)}u-" if text[0] == "_" else f"-{ord(text)}x-"


_REMOTE_FORMS = "write `oci://<host>/<path>:<version>` or `oci://<host>/<path>@sha256:<hex>`"
_FORMS = "write `<host>/<path>@sha256:<hex>` or `oci:<directory>@sha256:<hex>`"


def _is_host(text: str) -> bool:
    """Whether the first part of a reference is a host, as Docker tells it from a path."""
    if not _HOST.fullmatch(text):
        return False
    return text.startswith("localhost") or "." in text or ":" in text


def _refuse_login(text: str) -> None:
    """ValueError, which does not show it, where `text` has a login before its host."""
    if _LOGIN.match(text):
        shown = _LOGIN.sub(r"\1…@", text)
        raise ValueError(f"`{shown}` has a login: registries' logins are those of docker")
