"""Repositories: what is there and under which digest, and blobs piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from mfbuild.engine.model import Blob, Digest
from mfbuild.errors import FetchError
from mfbuild.oci.registry import Repository
from tests.pushes import repository
from tests.registry import Answer, Request, Script, Scripted, scripted

DATA = bytes(range(256)) * 12_000
BLOB = Blob(Digest.of(DATA), len(DATA))


@dataclass(frozen=True)
class Found:
    server: Scripted
    repository: Repository


@contextmanager
def client(script: Script) -> Iterator[Found]:
    with scripted(script) as server:
        yield Found(server, repository(server.host))


def told(digest: Digest | str) -> dict[str, str]:
    return {"Docker-Content-Digest": str(digest)}


def test_what_is_there_is_found() -> None:
    with client(lambda r: Answer(200, headers=told(BLOB.digest))) as found:
        assert found.repository.has(BLOB.digest)
        assert found.repository.find(BLOB.digest) == found.repository.find("v1") == BLOB.digest
    assert {request.method for request in found.server.seen} == {"HEAD"}
    with client(lambda r: Answer(404)) as found:
        assert not found.repository.has(BLOB.digest)
        assert found.repository.find(BLOB.digest) is found.repository.find("v1") is None
        assert found.repository.tagged("v1") is None


def test_a_registry_that_tells_no_digests() -> None:
    with client(lambda r: Answer(200, b"{}")) as found:
        assert found.repository.has(BLOB.digest)
        assert found.repository.find(BLOB.digest) == BLOB.digest
        assert found.repository.find("v1") == Digest.of(b"{}")


@pytest.mark.parametrize("lie", [Digest.of(b"?"), "sha256:", "nonsense"])
def test_a_registry_that_has_another_digest(lie: Digest | str) -> None:
    with client(lambda r: Answer(200, headers=told(lie))) as found:
        for ask in (found.repository.has, found.repository.find):
            with pytest.raises(FetchError) as caught:
                ask(BLOB.digest)
            expected = f"`{found.server.host}` says that `{BLOB.digest}` is `{lie}`"
            assert str(caught.value) == expected


def test_a_tag_with_a_digest_that_is_none() -> None:
    with client(lambda r: Answer(200, headers=told("sha512:00"))) as found:
        with pytest.raises(FetchError) as caught:
            found.repository.find("v1")
        assert str(caught.value) == f"`{found.repository}:v1` has the digest `sha512:00`"


@pytest.mark.parametrize("status", [401, 403, 410, 500])
def test_what_cannot_be_told_is_not_absent(status: int) -> None:
    with client(lambda r: Answer(status)) as found:
        for ask in (found.repository.has, found.repository.find):
            with pytest.raises(FetchError):
                ask(BLOB.digest)


def cut(request: Request) -> Answer:
    """DATA, of which 300 kB arrive before the connection breaks."""
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    rest = DATA[start:]
    return Answer(206 if start else 200, rest, cut=300_000 if len(rest) > 300_000 else None)


def test_a_blob_is_read_through_many_breaks() -> None:
    """More of them than a request is tried: each piece counts for itself."""
    with client(cut) as found:
        assert b"".join(found.repository.chunks(BLOB)) == DATA
    assert len(found.server.seen) > 5


def test_the_last_piece_of_another_blob_is_kept_back() -> None:
    got = bytearray()
    with client(lambda r: Answer(200, DATA[:-1] + b"?")) as found:
        with pytest.raises(FetchError) as caught:
            for piece in found.repository.chunks(BLOB):
                got += piece
        expected = f"`{found.repository}@{BLOB.digest}` is not what its digest promises"
        assert str(caught.value) == expected
    assert 0 < len(got) < len(DATA)


def test_connections_are_kept() -> None:
    small = Blob(Digest.of(b"small"), 5)
    with client(lambda r: Answer(404) if r.method == "HEAD" else Answer(200, b"small")) as found:
        for _ in range(3):
            assert not found.repository.has(small.digest)
            assert b"".join(found.repository.chunks(small)) == b"small"
    assert len(found.server.seen) == 6
    assert len(found.server.connections) == 1
