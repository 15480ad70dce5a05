"""Reading a repository of a registry (OCI distribution-spec), and the fetcher of `oci:` sources."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mfbuild.engine.model import Blob, Digest, Source
from mfbuild.errors import FetchError
from mfbuild.http.client import Response
from mfbuild.http.parallel import Tick
from mfbuild.http.stream import received
from mfbuild.oci.access import AnswerError, Registry
from mfbuild.oci.layout import MAX_DOCUMENT, Extent, blob_name, verified
from mfbuild.oci.reference import Reference
from mfbuild.oci.types import INDEX_TYPES, MANIFEST_TYPES, Descriptor

T = TypeVar("T")

_ACCEPT = {"Accept": ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))}


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry, as it is read. What has a digest is verified; FetchError.

    `actions` are those that a bearer token is asked for.
    """

    registry: Registry
    path: str
    actions: str = "pull"

    def manifest(self, digest: Digest) -> bytes:
        """The manifest or index with this digest."""
        return self._promised(digest, self._document(f"manifests/{digest}", _ACCEPT))

    def blob(self, digest: Digest) -> bytes:
        """A small blob, like a config."""
        return self._promised(digest, self._document(f"blobs/{digest}"))

    def tagged(self, tag: str) -> bytes | None:
        """The manifest or index with this tag, whatever it is; None if there is none."""
        return _unless_absent(lambda: self._document(f"manifests/{tag}", _ACCEPT))

    def has(self, digest: Digest) -> bool:
        """Whether this blob is there."""
        told = _unless_absent(lambda: self._head(f"blobs/{digest}"))
        return told is not None and bool(self.same(digest, told))

    def find(self, reference: Digest | str) -> Digest | None:
        """The digest of the manifest or index with this digest or tag; None if there is none."""
        told = _unless_absent(lambda: self._head(f"manifests/{reference}", _ACCEPT))
        if told is None:
            return None
        if isinstance(reference, Digest):
            return self.same(reference, told)
        data = None if told else self.tagged(reference)
        try:
            return Digest.of(data) if data is not None else Digest.parse(told)
        except ValueError:
            raise FetchError(f"`{self}:{reference}` has the digest `{told}`") from None

    def chunks(
        self, blob: Blob | Descriptor, tick: Tick = lambda n: None
    ) -> Generator[bytes, None, None]:
        """A blob in pieces; the last one only if it is what its digest promises.

        A connection that breaks is taken up where it broke.
        """
        url = self.url(f"blobs/{blob.digest}")
        send = partial(self.registry.open, "GET", url, scope=self.scope)
        persist = partial(self.registry.persist, url, tick=tick)
        broken = self._broken(blob.digest)
        with closing(received(lambda h: send(headers=h), blob.size, persist)) as pieces:
            yield from verified(_no_more(pieces, blob.size), blob, broken)

    def download(self, blob: Blob | Descriptor, destination: Path, tick: Tick) -> None:
        """Write a blob to `destination`."""
        with destination.open("wb") as out, closing(self.chunks(blob, tick)) as pieces:
            for piece in pieces:
                out.write(piece)
                tick(len(piece))

    def url(self, name: str) -> str:
        """The path of `manifests/…` or `blobs/…` at the registry."""
        return f"/v2/{self.path}/{name}"

    @property
    def scope(self) -> str:
        """What a bearer token is asked for."""
        return f"repository:{self.path}:{self.actions}"

    def same(self, digest: Digest, told: str) -> Digest:
        """`digest`; FetchError if the registry has `told` another one (an empty one is none)."""
        if told and told != str(digest):
            raise FetchError(f"`{self.registry.host}` says that `{digest}` is `{told}`")
        return digest

    def __str__(self) -> str:
        return f"{self.registry.host}/{self.path}"

    def _head(self, name: str, headers: Mapping[str, str] | None = None) -> str:
        """The Docker-Content-Digest of a document, empty where the registry tells none."""
        return self._ask("HEAD", name, headers, told_digest)

    def _document(self, name: str, headers: Mapping[str, str] | None = None) -> bytes:
        def receive(response: Response) -> bytes:
            data = response.read(MAX_DOCUMENT + 1)
            if len(data) > MAX_DOCUMENT:
                raise FetchError(f"`{self}`: `{name}` is larger than `{MAX_DOCUMENT}` bytes")
            return data

        return self._ask("GET", name, headers, receive)

    def _ask(
        self,
        method: str,
        name: str,
        headers: Mapping[str, str] | None,
        read: Callable[[Response], T],
    ) -> T:
        url = self.url(name)
        ask = partial(self.registry.ask, method, url, scope=self.scope, headers=headers, read=read)
        return self.registry.persist(url, ask, lambda n: None)

    def _promised(self, digest: Digest, data: bytes) -> bytes:
        if Digest.of(data) != digest:
            raise self._broken(digest)
        return data

    def _broken(self, digest: Digest) -> FetchError:
        return FetchError(f"`{self}@{digest}` is not what its digest promises")


def told_digest(response: Response) -> str:
    """The digest that a registry says its content has; empty where it says nothing."""
    return response.headers.get("Docker-Content-Digest", "")


def stored_digest(response: Response) -> str:
    """The same of what it was sent; FetchError if it does not say that it has stored it (201)."""
    if response.status != 201:
        status = response.status
        raise FetchError(f"`{response.host}` stored nothing: it answered `{status}`")
    return told_digest(response)


def _unless_absent(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except AnswerError as error:
        if error.status == 404:
            return None
        raise


def _no_more(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """`pieces`; FetchError where they are more than `size` bytes."""
    left = size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise FetchError(f"a blob of `{size}` bytes arrived with more")
        yield piece


class OciFetcher:
    """The fetcher of `oci:<repository>@sha256:…` sources, in a registry or a layout on disk."""

    def __init__(self, open_registry: Callable[[str], Registry]) -> None:
        self._open = open_registry
        self._lock = threading.Lock()
        self._registries: dict[str, Registry] = {}

    def __call__(self, source: Source, destination: Path, tick: Tick) -> None:
        """Write the bytes of `source` to `destination`; FetchError."""
        reference = Reference.parse(source.locator.removeprefix("oci:"))
        if reference.directory is not None:
            _copy(reference.directory, source.blob, destination, tick)
            return
        with self._lock:
            if reference.host not in self._registries:
                self._registries[reference.host] = self._open(reference.host)
        registry = self._registries[reference.host]
        Repository(registry, reference.path).download(source.blob, destination, tick)


def _copy(directory: Path, blob: Blob, destination: Path, tick: Tick) -> None:
    """Copy a blob out of a layout."""
    extent = Extent(directory / blob_name(blob.digest), 0, blob.size)
    changed = FetchError(f"`{blob.digest}` has changed in the layout `{directory}`")
    try:
        with destination.open("wb") as out:
            for piece in verified(extent.chunks(), blob, changed):
                out.write(piece)
                tick(len(piece))
    except FileNotFoundError:
        raise FetchError(f"the layout `{directory}` does not have `{blob.digest}`") from None
