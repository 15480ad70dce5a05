"""Servers that lie or misbehave, in every way that has been seen, to each who downloads: what is
kept is what was promised, and anything else is an error that people can act on."""

from __future__ import annotations

import gc
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mfbuild.debian.apt import Mirror
from mfbuild.debian.fetch import download
from mfbuild.engine.model import Blob, Digest
from mfbuild.errors import FetchError
from mfbuild.http import limits
from mfbuild.http.limits import Limits
from mfbuild.oci.access import Registry
from mfbuild.oci.registry import Repository
from mfbuild.python.download import Downloader
from tests.http.serving import Client, nothing
from tests.index import settings_for
from tests.registry import Answer, Request, Script, scripted

DATA = hashlib.shake_256(b"a file").digest(400_000)
BLOB = Blob(Digest.of(DATA), len(DATA))

Get = Callable[[str, Path], None]


def of_index(host: str, path: Path) -> None:
    """As a wheel is downloaded."""
    downloader = Downloader(settings_for(None, path.parent), lambda seconds: None)
    downloader.fetch(f"http://{host}/x.whl", path, sha256=BLOB.digest.hex, size=BLOB.size)


def of_registry(host: str, path: Path) -> None:
    """As a layer is."""
    registry = Registry(host, {}, lambda host: None, lambda seconds: None)
    Repository(registry, "x").download(BLOB, path, nothing)


def of_mirror(host: str, path: Path) -> None:
    """As a Debian package is; whoever calls compares the digest."""
    download(Client(), Mirror(f"http://{host}"), "x.deb", path, nothing, limit=BLOB.size)
    if Digest.of(path.read_bytes()) != BLOB.digest:
        raise FetchError("is not what was promised")


def ranged(request: Request) -> Answer:
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    told = {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
    return Answer(206 if start else 200, DATA[start:], told if start else {})


def once(first: Answer) -> Script:
    left = [first]
    return lambda request: left.pop() if left else ranged(request)


def wrong_range(request: Request) -> Answer:
    if "Range" in request.headers:
        return Answer(206, b"x" * 10, {"Content-Range": "bytes 0-9/10"})
    return Answer(200, DATA, cut=len(DATA) // 3)


GZIP = {"Content-Encoding": "gzip"}

HEALED: dict[str, Callable[[], Script]] = {
    "trunc": lambda: once(Answer(200, DATA, cut=len(DATA) // 2)),
    "500": lambda: once(Answer(500, b"boom")),
    "429": lambda: once(Answer(429, b"slow", {"Retry-After": "99999999"})),
    "redirect": lambda: once(Answer(302, headers={"Location": "/moved"})),
    "encoded": lambda: once(Answer(200, DATA, GZIP)),
}

REFUSED: dict[str, Script] = {
    "flip": lambda r: Answer(200, DATA[:-1] + bytes([DATA[-1] ^ 1])),
    "trunc": lambda r: Answer(200, DATA, cut=len(DATA) // 2),
    "shortlen": lambda r: Answer(200, DATA[: len(DATA) // 2]),
    "longer": lambda r: Answer(200, DATA + bytes(1000)),
    "nothing": lambda r: Answer(200),
    "redirloop": lambda r: Answer(302, headers={"Location": r.path}),
    "redirfile": lambda r: Answer(302, headers={"Location": "file:///etc/passwd"}),
    "500": lambda r: Answer(500, b"boom"),
    "429": lambda r: Answer(429, b"slow", {"Retry-After": "99999999"}),
    "404": lambda r: Answer(404),
    "401": lambda r: Answer(401, headers={"WWW-Authenticate": 'Bearer realm="http://["'}),
    "gzip": lambda r: Answer(200, gzip.compress(DATA), GZIP),
    "gzipbomb": lambda r: Answer(200, gzip.compress(bytes(30 << 20)), GZIP),
    "badrange": wrong_range,
    "endless": lambda r: Answer(200, DATA * 20),
    "endless words": lambda r: Answer(404, DATA * 20),
    "endless redirect": lambda r: Answer(302, DATA * 20, {"Location": r.path + "x"}),
}


@pytest.mark.parametrize("lie", HEALED)
@pytest.mark.parametrize("get", [of_index, of_registry, of_mirror])
def test_what_can_be_healed(tmp_path: Path, get: Get, lie: str) -> None:
    with scripted(HEALED[lie]()) as server:
        get(server.host, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


@pytest.mark.parametrize("lie", REFUSED)
@pytest.mark.parametrize("get", [of_index, of_registry, of_mirror])
def test_what_is_refused(
    tmp_path: Path, get: Get, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIMITS", Limits(silence=1))
    with scripted(REFUSED[lie]) as server, pytest.raises(FetchError) as caught:
        get(server.host, tmp_path / "x")
    assert caught.value.exit_code == 1
    assert len(server.seen) <= 12
    if (tmp_path / "x").exists():
        assert (tmp_path / "x").stat().st_size <= len(DATA), "no more than was promised"


# urllib3 leaves a response open whose length it cannot read.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*socket")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("length", ["-1", "5, 7", "x"])
@pytest.mark.parametrize("get", [of_index, of_registry, of_mirror])
def test_lengths_that_are_none(
    tmp_path: Path, get: Get, length: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIMITS", Limits(silence=0.2))
    told = Answer(200, headers={"Content-Length": length})
    with scripted(lambda request: told) as server, pytest.raises(FetchError):
        get(server.host, tmp_path / "x")
    gc.collect()
