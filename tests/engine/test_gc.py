"""Collection: the least recently used goes first, and nothing that a build holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfbuild.engine.cache import Cache
from mfbuild.engine.gc import Collected, collect
from mfbuild.engine.model import ActionResult, Blob, Digest
from mfbuild.engine.store import Store
from mfbuild.errors import StoreError
from tests.engine.fakes import add

NOW = 1_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


def aged(store: Store, data: bytes, age: float) -> Blob:
    """A blob that was last used `age` seconds before NOW."""
    added = add(store, data)
    os.utime(store.path(added), (NOW - age, NOW - age))
    return added


def there(store: Store, *blobs: Blob) -> list[bool]:
    return [store.path(blob).exists() for blob in blobs]


def test_the_oldest_go_until_it_fits(store: Store) -> None:
    old, new, middle = aged(store, b"1" * 10, 30), aged(store, b"2" * 10, 10), aged(store, b"3", 20)
    found = collect(store, max_size=11, max_age=None, now=NOW)
    assert found == Collected(freed=10, kept=11, removed=1)
    assert there(store, old, middle, new) == [False, True, True]


def test_what_is_too_old_goes(store: Store) -> None:
    old, new = aged(store, b"12345", 3601), aged(store, b"1", 3600)
    found = collect(store, max_size=None, max_age=3600, now=NOW)
    assert found == Collected(freed=5, kept=1, removed=1)
    assert there(store, old, new) == [False, True]


def test_no_limit_only_sweeps(store: Store, tmp_path: Path) -> None:
    kept = aged(store, b"x", 1e6)
    (tmp_path / "tmp" / "stale").write_bytes(b"half")
    assert collect(store, max_size=None, max_age=None, now=NOW).removed == 0
    assert there(store, kept) == [True]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_everything_can_go(store: Store) -> None:
    gone = aged(store, b"x", 1)
    Cache(store, "here").put(Digest.of(b"key"), ActionResult({"out": gone}))
    assert collect(store, max_size=0, max_age=None, now=NOW).kept == 0
    assert Cache(store, "here").get(Digest.of(b"key")) is None
    assert there(store, gone) == [False]


def test_a_result_that_is_still_looked_up_outlives_its_blobs(store: Store, tmp_path: Path) -> None:
    cache = Cache(store, "here")
    gone = aged(store, b"x", 7200)
    for key in (b"used", b"unused"):
        cache.put(Digest.of(key), ActionResult({"out": gone}))
        path = tmp_path / "ac" / Digest.of(key).hex[:2] / Digest.of(key).hex
        os.utime(path, (NOW - 7200, NOW - 7200))
    assert cache.get(Digest.of(b"used")) is not None
    collect(store, max_size=None, max_age=3600, now=NOW)
    assert cache.get(Digest.of(b"used")) is not None
    assert cache.get(Digest.of(b"unused")) is None
    assert there(store, gone) == [False]


def test_a_running_build_is_not_disturbed(store: Store, tmp_path: Path) -> None:
    kept = aged(store, b"x", 1e6)
    with Store.open(tmp_path), pytest.raises(StoreError) as caught:
        collect(store, max_size=0, max_age=None, now=NOW)
    assert str(caught.value) == f"the store at `{tmp_path}` is in use"
    assert there(store, kept) == [True]
