"""A download in pieces, which goes on where a connection broke."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from mfbuild.http.client import Response
from mfbuild.http.errors import Passing, StatusError
from mfbuild.http.limits import Deadline

Open = Callable[[Mapping[str, str]], Response]
"""Sends a request with these headers besides its own, as `HttpClient.open` does."""


def received(
    open: Open, size: int | None, persist: Callable[[Callable[[], bytes]], bytes]
) -> Generator[bytes, None, None]:
    """The content of what `open` asks for, in pieces, of `size` bytes where that is known.

    Each piece is a transfer of its own to `persist`, which tries again after Passing: so whoever
    gets further is not stopped by a count. Nothing tells whether the content is the same after a
    break: the caller checks its digest, and closes this.
    """
    stream = _Stream(open, size)
    try:
        yield from iter(partial(persist, stream.piece), b"")
    finally:
        stream.close()


@dataclass(slots=True)
class _Stream:
    open: Open
    size: int | None
    done: int = 0
    ranges: bool = True
    deadline: Deadline | None = None
    response: Response | None = None
    pieces: Iterator[bytes] = field(default_factory=lambda: iter(()))

    def piece(self) -> bytes:
        """The next piece, nothing at the end; Passing if the connection breaks."""
        try:
            if self.response is None:
                self._open()
            piece = next(self.pieces, b"")
            if not piece and self.done < (self.size or 0):
                raise Passing("ended the download too early")
        except Passing:
            self.close()
            if self.size is None or self.done < self.size:
                raise
            return b""
        self.done += len(piece)
        return piece

    def close(self) -> None:
        if self.response is not None:
            self.response.close()
        self.response = None

    def _open(self) -> None:
        resumed = {"Range": f"bytes={self.done}-"} if self.done and self.ranges else {}
        try:
            self.response = response = self.open(resumed)
            # One for all attempts: whoever gets a little further each time ends as well.
            self.deadline = response.deadline = self.deadline or response.deadline
        except StatusError as error:
            if error.status == 416 and resumed:
                raise self._not_resumed() from None
            raise
        if response.status == 206:
            wanted = f"bytes {self.done}-"
            if not response.headers.get("Content-Range", wanted).startswith(wanted):
                raise self._not_resumed()
            self.pieces = response.pieces()
        else:
            self.pieces = after(response.pieces(), self.done)
        length = response.headers.get("Content-Length", "")
        if self.size is None and length.isdecimal():
            self.size = int(length)

    def _not_resumed(self) -> Passing:
        self.ranges = False
        return Passing("does not go on where it stopped")


def after(pieces: Iterable[bytes], offset: int) -> Iterator[bytes]:
    """`pieces` without their first `offset` bytes."""
    for piece in pieces:
        if offset < len(piece):
            yield piece[offset:]
        offset = max(0, offset - len(piece))
