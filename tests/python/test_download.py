"""Downloads over the loopback that go wrong in every way that a network knows."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mfbuild.errors import FetchError, Interrupted, UsageError
from mfbuild.http.retry import ATTEMPTS
from mfbuild.python.download import Downloader, GoneError
from tests.index import Fault, File, Index, serve, settings_for

DATA = hashlib.shake_256(b"a wheel").digest(1_500_000)
WHEEL = File("big-1.0-py3-none-any.whl", DATA)


class Fetched:
    """One download with what it reported."""

    def __init__(self, index: Index, home: Path, **environ: str) -> None:
        self.path = home / "out.whl"
        self.ticks: list[int] = []
        self.slept: list[float] = []
        self._index = index
        self._downloader = Downloader(settings_for(index, home, **environ), self.slept.append)

    def get(
        self, *, url: str = "", sha256: str = WHEEL.sha256, size: int | None = len(DATA)
    ) -> int:
        address = url or f"{self._index.url}/files/{WHEEL.name}"
        return self._downloader.fetch(
            address, self.path, sha256=sha256, size=size, tick=self.ticks.append
        )


def test_what_is_downloaded_is_what_was_promised(tmp_path: Path) -> None:
    with serve(WHEEL) as index:
        fetched = Fetched(index, tmp_path)
        assert fetched.get() == len(DATA)
    assert fetched.path.read_bytes() == DATA
    assert sum(fetched.ticks) == len(DATA) and max(fetched.ticks) <= 1 << 20


@pytest.mark.parametrize("faults", [["503"], ["429", "503"], ["cut"], ["503", "cut", "cut", "503"]])
@pytest.mark.parametrize("ranges", [True, False])
def test_passing_faults_are_got_over(tmp_path: Path, faults: list[Fault], ranges: bool) -> None:
    with serve(WHEEL, faults={WHEEL.name: list(faults)}, ranges=ranges) as index:
        fetched = Fetched(index, tmp_path)
        fetched.get()
    assert fetched.path.read_bytes() == DATA
    assert sum(fetched.ticks) == len(DATA)
    assert fetched.slept


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_that_are_not_there_are_named(tmp_path: Path, name: str) -> None:
    environ = {"REQUESTS_CA_BUNDLE": "", name: "/missing.pem"}
    with serve(WHEEL) as index, pytest.raises(UsageError) as caught:
        Fetched(index, tmp_path, **environ).get(url="https://127.0.0.1:1/a.whl")
    assert str(caught.value) == f"`{name}` names `/missing.pem`, which is not there"


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with serve(WHEEL, faults={WHEEL.name: ["cut"]}) as index:
        Fetched(index, tmp_path).get()
        first, second = index.downloads(WHEEL.name)
    assert "range" not in first
    assert second["range"] == f"bytes={len(DATA) // 2}-"


def test_a_server_that_stays_broken_is_given_up(tmp_path: Path) -> None:
    with serve(WHEEL, faults={WHEEL.name: ["503"] * 20}) as index:
        fetched = Fetched(index, tmp_path)
        with pytest.raises(FetchError) as caught:
            fetched.get()
        assert len(index.downloads(WHEEL.name)) == ATTEMPTS
    problem = caught.value.problems[0]
    assert problem.message == f"`{WHEEL.name}` cannot be downloaded: the server answered `503`"
    assert problem.where == f"{index.url}/files/{WHEEL.name}"
    assert not fetched.path.exists()


def test_a_server_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    with serve(WHEEL) as index:
        fetched = Fetched(index, tmp_path)
    with pytest.raises(FetchError, match=r"cannot be downloaded: .*refused"):
        fetched.get()
    assert not fetched.path.exists()


def test_a_server_that_never_gets_further_is_given_up(tmp_path: Path) -> None:
    with serve(WHEEL, faults={WHEEL.name: ["cut"] * 50}, ranges=False) as index:
        with pytest.raises(FetchError, match="cannot be downloaded"):
            Fetched(index, tmp_path).get()
        assert len(index.downloads(WHEEL.name)) <= ATTEMPTS + 1


@pytest.mark.parametrize("fault", ["403", "404"])
def test_a_file_that_is_not_there_is_not_asked_for_again(tmp_path: Path, fault: Fault) -> None:
    with serve(WHEEL, faults={WHEEL.name: [fault]}) as index:
        with pytest.raises(GoneError, match=f"the server answered `{fault}`"):
            Fetched(index, tmp_path).get()
        assert len(index.downloads(WHEEL.name)) == 1


def test_wrong_content_is_never_kept(tmp_path: Path) -> None:
    with serve(WHEEL, faults={WHEEL.name: ["wrong"]}) as index:
        fetched = Fetched(index, tmp_path)
        with pytest.raises(FetchError, match=f"not `{WHEEL.sha256}` as locked"):
            fetched.get()
    assert not fetched.path.exists()


def test_no_more_is_written_than_was_promised(tmp_path: Path) -> None:
    with serve(WHEEL) as index:
        fetched = Fetched(index, tmp_path)
        with pytest.raises(FetchError, match="is longer than the 1000 bytes that are locked"):
            fetched.get(size=1000)
    assert sum(fetched.ticks) <= 1000
    assert not fetched.path.exists()


def test_content_that_is_said_to_be_encoded_is_taken_as_it_is(tmp_path: Path) -> None:
    with serve(WHEEL, faults={WHEEL.name: ["encoded"]}) as index:
        fetched = Fetched(index, tmp_path)
        fetched.get()
        assert index.downloads(WHEEL.name)[0]["accept-encoding"] == "identity"
    assert fetched.path.read_bytes() == DATA


def test_credentials_do_not_follow_a_redirect_to_another_host(tmp_path: Path) -> None:
    with serve(WHEEL) as other, serve(WHEEL, auth=("me", "secret")) as index:
        index.elsewhere = other.url
        index.faults[WHEEL.name] = ["redirect"]
        url = index.simple.replace("://", "://me:secret@")
        Fetched(index, tmp_path, UV_DEFAULT_INDEX=url).get()
        assert "authorization" in index.downloads(WHEEL.name)[0]
        assert "authorization" not in other.downloads(WHEEL.name)[0]


def test_missing_credentials_are_told_without_the_address_of_a_token(tmp_path: Path) -> None:
    with serve(WHEEL, auth=("me", "secret")) as index:
        url = f"{index.url}/files/{WHEEL.name}?token=abc".replace("://", "://you:wrong@")
        with pytest.raises(GoneError) as caught:
            Fetched(index, tmp_path).get(url=url)
    problem = caught.value.problems[0]
    assert problem.hint == "check the credentials of the index"
    assert "abc" not in repr(problem) and "wrong" not in repr(problem)


def test_a_local_file_is_copied_and_checked(tmp_path: Path) -> None:
    source = WHEEL.save(tmp_path / "with space")
    with serve() as index:
        fetched = Fetched(index, tmp_path)
        fetched.get(url=source.as_uri())
        assert fetched.path.read_bytes() == DATA
        with pytest.raises(FetchError, match="has the sha256"):
            fetched.get(url=source.as_uri(), sha256="0" * 64)
        with pytest.raises(FetchError, match="is shorter than it is locked"):
            fetched.get(url=source.as_uri(), size=len(DATA) + 1)
        with pytest.raises(GoneError, match="is not there any more"):
            fetched.get(url=(tmp_path / "gone.whl").as_uri())


def test_a_cancelled_download_stops_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    def cancel(count: int) -> None:
        raise Interrupted("cancelled")

    with serve(WHEEL) as index:
        downloader = Downloader(settings_for(index, tmp_path))
        url, path = f"{index.url}/files/{WHEEL.name}", tmp_path / "out"
        with pytest.raises(Interrupted):
            downloader.fetch(url, path, sha256=WHEEL.sha256, tick=cancel)
    assert not path.exists()


def test_a_full_disk_is_told_and_not_tried_again(tmp_path: Path) -> None:
    full = tmp_path / "out.whl"
    full.symlink_to("/dev/full")
    if not Path("/dev/full").exists():
        full.unlink()
        full.mkdir()
    with serve(WHEEL) as index:
        downloader = Downloader(settings_for(index, tmp_path))
        url = f"{index.url}/files/{WHEEL.name}"
        with pytest.raises(FetchError, match=r"`out\.whl` cannot be written"):
            downloader.fetch(url, full, sha256=WHEEL.sha256)
        assert len(index.downloads(WHEEL.name)) <= 1


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/x", "nonsense", "http://[/x"])
def test_other_addresses_are_refused(tmp_path: Path, address: str) -> None:
    with serve() as index, pytest.raises(FetchError):
        Fetched(index, tmp_path).get(url=address)


def test_sizes_are_asked_of_the_server(tmp_path: Path) -> None:
    with serve(WHEEL) as index:
        downloader = Downloader(settings_for(index, tmp_path))
        assert downloader.size(f"{index.url}/files/{WHEEL.name}") == len(DATA)
        assert downloader.size(f"{index.url}/files/absent.whl") is None
        assert index.downloads(WHEEL.name) == []
    downloader = Downloader(downloader.settings)  # without the connection that is open
    assert downloader.size(f"{index.url}/files/{WHEEL.name}") is None
    assert downloader.size(Path(os.devnull).as_uri()) == 0
