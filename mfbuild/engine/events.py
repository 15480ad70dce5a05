"""What a running build tells: the Reporter port, and one that says nothing."""

from __future__ import annotations

from typing import Literal, Protocol

How = Literal["ran", "cached", "fetched", "pushed", "mounted", "failed"]


class Reporter(Protocol):
    """Hears how a build goes on. Called from several threads at once: implementations lock.

    `label` is an action's label, a source's locator (`wheel:…`) while that is downloaded, or
    `<repository>@<digest>` of a blob that is pushed or pulled.
    Each `started` is followed by one `finished`; an action that is `cached` from the beginning
    has the `finished` alone.
    """

    def started(self, label: str, description: str) -> None: ...

    def progress(self, label: str, done: int, total: int | None) -> None:
        """`done` bytes of `total` (None: not known), called very often."""
        ...

    def finished(self, label: str, how: How, seconds: float) -> None: ...

    def warn(self, message: str) -> None:
        """Something a person should know that does not end the build."""
        ...


class Silent:
    """A Reporter that says nothing."""

    def started(self, label: str, description: str) -> None:
        pass

    def progress(self, label: str, done: int, total: int | None) -> None:
        pass

    def finished(self, label: str, how: How, seconds: float) -> None:
        pass

    def warn(self, message: str) -> None:
        pass
