"""One blob into a repository (distribution-spec, "Pushing blobs"): mounted, sent, resumed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import urlencode

from mfbuild.engine.model import Blob, Digest
from mfbuild.errors import FetchError, PushError
from mfbuild.http.client import Body, Response
from mfbuild.http.parallel import Tick
from mfbuild.http.stream import after
from mfbuild.oci.access import AnswerError
from mfbuild.oci.registry import Repository, stored_digest, told_digest
from mfbuild.oci.types import Descriptor

T = TypeVar("T")

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_LOST = (400, 404, 416)
"""Answers that end an upload: what is sent is right, so that another one may be taken."""


class Origin(Protocol):
    """Where images are pushed from: a layout, or another repository."""

    def manifest(self, digest: Digest) -> bytes:
        """The manifest or index with this digest, verified."""
        ...

    def chunks(self, blob: Blob | Descriptor) -> Iterator[bytes]:
        """A blob in pieces; an MfbuildError before the last of them if it is another one."""
        ...


@dataclass(frozen=True, slots=True)
class _Content:
    """A blob from `offset` on, as the body of a request that may be sent more than once."""

    origin: Origin
    blob: Descriptor
    offset: int
    sent: Callable[[int], None]
    """Hears how many bytes of the blob the registry was sent, all in all; may raise."""

    def __len__(self) -> int:
        return self.blob.size - self.offset

    def __iter__(self) -> Iterator[bytes]:
        done = self.offset
        for piece in after(self.origin.chunks(self.blob), self.offset):
            self.sent(done)
            yield piece
            done += len(piece)
        self.sent(done)


@dataclass(slots=True)
class Upload:
    """A blob on its way to `target`; what the registry has of it stays when a request fails.

    `sources` are repositories of the same registry that may have it. `sent` hears how many of its
    bytes are sent, and may raise.
    """

    target: Repository
    origin: Origin
    blob: Descriptor
    sources: Sequence[Repository]
    sent: Callable[[int], None]
    _location: str | None = None
    """Where the registry wants more of it; None where no upload is open."""

    def run(self, tick: Tick) -> bool:
        """Put the blob there; False if it was mounted, not sent. FetchError, or the origin's."""
        url = self.target.url(f"blobs/{self.blob.digest}")
        return self.target.registry.persist(url, self._attempt, tick)

    def _attempt(self) -> bool:
        if self._location is not None and self.target.has(self.blob.digest):
            return True  # what was lost was only the answer
        offset = self._received()
        if self._location is None and self._begin():
            return False
        try:
            self._send(offset)
        except AnswerError as error:
            if error.status not in _LOST:
                raise
            self._location = None
            raise error.passing() from None
        return True

    def _begin(self) -> bool:
        """Open an upload; True if the blob was mounted instead."""
        url = self.target.url("blobs/uploads/")
        if source := self._source():
            query = urlencode({"mount": self.blob.digest, "from": source.path})
            # Some registries refuse what they do not want to mount, instead of just not doing it.
            with suppress(AnswerError):
                scope = f"{self.target.scope} {source.scope}"
                return self._ask("POST", f"{url}?{query}", self._opened, scope=scope)
        return self._ask("POST", url, self._opened)

    def _source(self) -> Repository | None:
        for source in self.sources:
            with suppress(FetchError):
                if source.has(self.blob.digest):
                    return source
        return None

    def _opened(self, response: Response) -> bool:
        if response.status == 201:
            self.target.same(self.blob.digest, told_digest(response))
            return True
        self._continue(response)
        return False

    def _received(self) -> int:
        """How many bytes the registry has; where that cannot be known, the upload is forgotten."""
        if self._location is None:
            return 0
        try:
            received = self._ask("GET", self._location, self._status)
        except AnswerError:
            received = None
        if received is None or received > self.blob.size:
            self._location, received = None, 0
        return received

    def _status(self, response: Response) -> int | None:
        received = parse_range(response.headers.get("Range", ""))
        if "Location" in response.headers:
            self._continue(response)
        return received

    def _send(self, offset: int) -> None:
        """Send the blob from `offset` on, and have the registry verify and keep it."""
        headers = {"Content-Type": "application/octet-stream"}
        content = _Content(self.origin, self.blob, offset, self.sent)
        body: Body = content if len(content) else b""
        if offset and body:
            part = {**headers, "Content-Range": f"{offset}-{self.blob.size - 1}"}
            self._ask("PATCH", self._where(), self._continue, headers=part, body=body)
            body = b""
        where = self._where()
        where += f"{'&' if '?' in where else '?'}{urlencode({'digest': self.blob.digest})}"
        told = self._ask("PUT", where, stored_digest, headers=headers, body=body)
        self.target.same(self.blob.digest, told)

    def _where(self) -> str:
        assert self._location, "BUG: no upload is open"
        return self._location

    def _continue(self, response: Response) -> None:
        """Go on where the registry says, which may be anywhere (and relative)."""
        self._location = response.location()
        if not self._location:
            raise PushError(f"`{self.target.registry.host}` does not say where to upload to")

    def _ask(
        self,
        method: str,
        url: str,
        read: Callable[[Response], T],
        *,
        scope: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
    ) -> T:
        scope = scope or self.target.scope
        ask = self.target.registry.ask
        return ask(method, url, scope=scope, read=read, headers=headers, body=body)


def parse_range(text: str) -> int | None:
    """How many bytes the Range of an upload's status stands for; None if it is not one.

    docker-registry says `0-0` of nothing, so that one byte cannot be told from none.
    """
    found = _RANGE.fullmatch(text.strip())
    last = int(found[1]) if found else None
    return last + 1 if last else last
