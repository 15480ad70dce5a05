from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfbuild.debian.apt import Mirror
from mfbuild.debian.fetch import Missing, deb_fetcher, download
from mfbuild.engine.model import Blob, Digest, Source
from mfbuild.errors import FetchError, Interrupted, UsageError
from mfbuild.http.client import HttpClient
from mfbuild.http.trust import Trust
from tests.debs import MirrorServer, serve

CONTENT = bytes(range(256)) * 4096
PATH = "pool/main/t/tool+_1%3a1.0~rc1_all.deb"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MirrorServer]:
    with serve() as server:
        server.files[f"debian/{PATH}"] = CONTENT
        monkeypatch.setenv("MFBUILD_DEBIAN_MIRROR", f"{server.url}/debian")
        monkeypatch.delenv("MFBUILD_DEBIAN_SECURITY_MIRROR", raising=False)
        yield server


def source(path: str = PATH, archive: str = "debian") -> Source:
    return Source(Blob(Digest.of(CONTENT), len(CONTENT)), f"deb:{archive}/{path}")


def http() -> HttpClient:
    return HttpClient(Trust(os.environ), lambda seconds: None)


def get(server: MirrorServer, destination: Path, limit: int = len(CONTENT)) -> None:
    mirror = Mirror(f"{server.url}/debian")
    download(http(), mirror, PATH, destination, lambda n: None, limit=limit)


def test_a_package_is_downloaded_from_the_mirror_of_its_archive(
    server: MirrorServer, tmp_path: Path
) -> None:
    server.files["debian-security/pool/b.deb"] = CONTENT
    ticks: list[int] = []
    deb_fetcher(os.environ)(source(), tmp_path / "a", ticks.append)
    deb_fetcher(os.environ)(source("pool/b.deb", "debian-security"), tmp_path / "b", ticks.append)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == CONTENT
    assert sum(ticks) == 2 * len(CONTENT)


def test_a_package_that_vanished_is_named(server: MirrorServer, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as raised:
        deb_fetcher(os.environ)(
            source("pool/main/libc6_2.36_amd64.deb"), tmp_path / "a", lambda n: None
        )
    (problem,) = raised.value.problems
    assert problem.message == "`libc6_2.36_amd64.deb` is no longer on the Debian mirror"
    assert problem.hint == (
        "run `mfbuild lock --images`: newer versions take the place of locked ones"
    )


@pytest.mark.parametrize("fault", [500, 503, 429, "cut"])
def test_what_may_pass_is_tried_again(
    server: MirrorServer, tmp_path: Path, fault: int | str
) -> None:
    server.faults[f"debian/{PATH}"] = [fault, fault]
    get(server, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_what_stays_broken_is_an_error(server: MirrorServer, tmp_path: Path) -> None:
    server.faults[f"debian/{PATH}"] = [502] * 5
    with pytest.raises(FetchError) as raised:
        get(server, tmp_path / "a")
    name = PATH.rpartition("/")[2]
    expected = f"downloading `{name}` from the Debian mirror: the server answered `502`"
    assert str(raised.value) == expected


def test_a_refusal_is_not_tried_again(server: MirrorServer, tmp_path: Path) -> None:
    server.faults[f"debian/{PATH}"] = [403]
    with pytest.raises(FetchError, match=r"the Debian mirror answered 403 for `pool/main"):
        get(server, tmp_path / "a")
    assert len(server.asked) == 1


def test_a_missing_file_is_told_apart(server: MirrorServer, tmp_path: Path) -> None:
    del server.files[f"debian/{PATH}"]
    with pytest.raises(Missing):
        get(server, tmp_path / "a")


def test_more_than_was_promised_is_not_written(server: MirrorServer, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="is larger than 1000 bytes"):
        get(server, tmp_path / "a", limit=1000)
    assert (tmp_path / "a").stat().st_size <= 1000


def test_a_closed_port_is_an_error_without_the_address(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        mirror = Mirror(f"http://user:secret@127.0.0.1:{unused.getsockname()[1]}/debian")
        with pytest.raises(FetchError) as raised:
            download(http(), mirror, "pool/a.deb", tmp_path / "a", lambda n: None, limit=9)
    assert str(raised.value) == (
        "downloading `a.deb` from the Debian mirror: "
        "the server could not be reached, or broke the connection: connection refused"
    )


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(name, "/missing.pem")
    with pytest.raises(UsageError) as raised:
        download(
            http(),
            Mirror("https://127.0.0.1:1/debian"),
            PATH,
            tmp_path / "a",
            lambda n: None,
            limit=9,
        )
    assert str(raised.value) == f"`{name}` names `/missing.pem`, which is not there"


def test_a_download_can_be_cancelled(server: MirrorServer, tmp_path: Path) -> None:
    def tick(done: int) -> None:
        raise Interrupted("cancelled")

    with pytest.raises(Interrupted):
        mirror = Mirror(f"{server.url}/debian")
        download(http(), mirror, PATH, tmp_path / "a", tick, limit=len(CONTENT))
