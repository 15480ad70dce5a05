"""Fetching the wheels of a lock, with hints, without, and with wrong ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mfbuild.engine.kept import read_kept
from mfbuild.engine.model import Blob, Digest, Source
from mfbuild.errors import FetchError
from mfbuild.oci.types import Platform
from mfbuild.python.fetch import wheel_fetcher
from mfbuild.python.model import Lock, LockedWheel, Request
from mfbuild.python.resolve import resolve
from mfbuild.python.urls import UrlCache, known_urls
from tests.index import Index, sdist, serve, settings_for, wheel

AMD64 = Platform("linux", "amd64")
REQUEST = Request("3.11", "2.36", (), ("one", "two"))
ONE, TWO = wheel("one", "1.0"), wheel("two", "2.0")


def locked(index: Index, home: Path, request: Request = REQUEST) -> Lock:
    cache = UrlCache(home / "urls.json")
    settings = settings_for(index, home)
    return resolve({request: "step"}, [AMD64], settings=settings, cache=cache)


def wheels(lock: Lock) -> Sequence[LockedWheel]:
    return next(iter(lock.environments.values())).wheels[AMD64]


def source(found: LockedWheel) -> Source:
    return Source(Blob(Digest(found.sha256), found.size), f"wheel:{found.filename}")


def fetch(lock: Lock, index: Index, home: Path, **environ: str) -> list[bytes]:
    """Fetch every wheel, two at a time."""
    fetcher = wheel_fetcher(
        lock, settings_for(index, home, **environ), UrlCache(home / "urls.json")
    )

    def one(found: LockedWheel) -> bytes:
        path = home / f"{found.name}.fetched"
        fetcher(source(found), path, lambda count: None)
        return path.read_bytes()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, wheels(lock)))


def test_hints_of_the_resolution_are_used(tmp_path: Path) -> None:
    with serve(ONE, TWO) as index:
        lock = locked(index, tmp_path)
        index.asked.clear()
        assert fetch(lock, index, tmp_path) == [ONE.data, TWO.data]
        assert {path for path, _ in index.asked} == {f"/files/{ONE.name}", f"/files/{TWO.name}"}


def test_a_fresh_machine_asks_its_index_once(tmp_path: Path) -> None:
    with serve(ONE, TWO) as index:
        lock = locked(index, tmp_path)
    (tmp_path / "urls.json").unlink()
    with serve(ONE, TWO, auth=("me", "secret"), html=True) as index:
        url = index.simple.replace("://", "://me:secret@")
        found = fetch(lock, index, tmp_path, UV_DEFAULT_INDEX=url)
        assert [path for path, _ in index.asked].count("/simple/one/") == 1
    assert found == [ONE.data, TWO.data]
    assert "secret" not in (tmp_path / "urls.json").read_text()


def test_a_hint_that_does_not_hold_any_more_is_renewed(tmp_path: Path) -> None:
    with serve(ONE, TWO) as index:
        lock = locked(index, tmp_path)
        hints = {f.sha256: f"{index.url}/moved/gone-{f.name}" for f in (ONE, TWO)}
        UrlCache(tmp_path / "urls.json").add(hints)
        assert fetch(lock, index, tmp_path) == [ONE.data, TWO.data]
        renewed = json.loads(read_kept(tmp_path / "urls.json"))
    assert renewed[ONE.sha256] == f"{index.url}/files/{ONE.name}"


def test_a_wheel_that_is_gone_is_named(tmp_path: Path) -> None:
    with serve(ONE, TWO) as index:
        lock = locked(index, tmp_path)
        index.files.remove(TWO)
        with pytest.raises(FetchError) as caught:
            fetch(lock, index, tmp_path)
    assert "two==2.0" in caught.value.problems[0].message


def test_a_wheel_that_the_index_replaced_is_not_taken(tmp_path: Path) -> None:
    with serve(ONE, TWO) as index:
        lock = locked(index, tmp_path)
    (tmp_path / "urls.json").unlink()
    replaced = wheel("two", "2.0", body="evil = True")
    with serve(ONE, replaced) as index, pytest.raises(FetchError) as caught:
        fetch(lock, index, tmp_path)
    problem = caught.value.problems[0]
    assert problem.message == f"no configured index has `{TWO.name}` as it is locked"
    assert problem.hint == "`mfbuild lock --upgrade two` locks what there is now"


def test_wrong_bytes_are_never_kept(tmp_path: Path) -> None:
    with serve(ONE, TWO) as index:
        lock = locked(index, tmp_path)
        index.faults[ONE.name] = ["wrong"]
        with pytest.raises(FetchError, match="as locked"):
            fetch(lock, index, tmp_path)
    assert not (tmp_path / "one.fetched").exists()


def test_what_is_not_in_the_lock_is_not_fetched(tmp_path: Path) -> None:
    settings = settings_for(None, tmp_path)
    fetcher = wheel_fetcher(Lock({}), settings, UrlCache(tmp_path / "urls.json"))
    stray = Source(Blob(Digest("0" * 64), 1), "wheel:stray-1.0-py3-none-any.whl")
    with pytest.raises(
        FetchError, match=r"`wheel:stray-1\.0-py3-none-any\.whl` is not in the lock"
    ):
        fetcher(stray, tmp_path / "stray", lambda count: None)


def test_an_sdist_is_fetched_and_built_to_the_same_bytes(tmp_path: Path) -> None:
    old = sdist("old", "1.0")
    request = Request("3.11", "2.36", (), ("old",))
    with serve(old) as index:
        lock = locked(index, tmp_path, request)
        (tmp_path / "urls.json").unlink()
        (built,) = fetch(lock, index, tmp_path)
    assert Digest.of(built).hex == wheels(lock)[0].sha256


def test_an_sdist_that_builds_another_wheel_is_refused(tmp_path: Path) -> None:
    old = sdist("old", "1.0")
    request = Request("3.11", "2.36", (), ("old",))
    with serve(old) as index:
        lock = locked(index, tmp_path, request)
        (made,) = wheels(lock)
        other = LockedWheel(made.filename, "old", "1.0", made.size, "0" * 64, old.name, old.sha256)
        environment = next(iter(lock.environments.values()))
        changed = Lock({request.digest(): type(environment)(request, {AMD64: (other,)})})
        with pytest.raises(FetchError, match=r"built again from `old-1\.0\.tar\.gz`"):
            fetch(changed, index, tmp_path)


def test_known_urls_answers_for_every_file(tmp_path: Path) -> None:
    with serve(ONE, TWO) as index:
        lock = locked(index, tmp_path)
        cache = UrlCache(tmp_path / "other.json")
        found = known_urls(lock, settings_for(index, tmp_path), cache)
    assert found == {f.sha256: f"{index.url}/files/{f.name}" for f in (ONE, TWO)}
    assert cache.get(ONE.sha256) == found[ONE.sha256]


def test_a_cache_of_addresses_keeps_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "urls.json"
    cache = UrlCache(path)
    urls = {
        "a": "https://one.example/x.whl",
        "b": "https://me:secret@one.example/y.whl",
        "c": "https://one.example/z.whl?token=secret",
    }
    cache.add(urls)
    assert {name: cache.get(name) for name in urls} == urls
    assert json.loads(read_kept(path)) == {"a": urls["a"]}


def test_two_caches_on_one_file_do_not_lose_what_the_other_added(tmp_path: Path) -> None:
    path = tmp_path / "urls.json"
    one, two = UrlCache(path), UrlCache(path)
    assert one.get("a") is None and two.get("b") is None
    one.add({"a": "https://one.example/a"})
    two.add({"b": "https://one.example/b"})
    assert sorted(json.loads(read_kept(path))) == ["a", "b"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "b": "nonsense"}', "\udcff"])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "urls.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    cache = UrlCache(path)
    assert cache.get("a") is None and cache.get("b") is None
    cache.add({"c": "https://one.example/c"})
    assert UrlCache(path).get("c") == "https://one.example/c"


def test_a_cache_that_cannot_be_written_still_answers(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = UrlCache(tmp_path / "file" / "urls.json")
    cache.add({"a": "https://one.example/a"})
    assert cache.get("a") == "https://one.example/a"
