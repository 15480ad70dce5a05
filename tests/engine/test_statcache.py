"""The stat cache: unchanged files are not read again, and no change is missed."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from mfbuild.engine.statcache import StatCache

LONG_AGO = 1_000_000_000 * 10**9


def settled(path: Path, content: bytes) -> Path:
    """A file whose mtime is long past; its ctime is now, which no one can set."""
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


def aged(cache: StatCache) -> StatCache:
    """`cache` as if everything in it had been hashed a minute later."""
    later = time.time_ns() + 60 * 10**9
    entries = {path: [*entry[:4], later, entry[5]] for path, entry in cache.to_json().items()}
    return StatCache.from_json(entries)


def test_the_digest_is_the_sha256_of_the_content(tmp_path: Path) -> None:
    path = settled(tmp_path / "file", b"content" * 500_000)
    assert StatCache().sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_settled_file_is_not_read_again(tmp_path: Path) -> None:
    path = settled(tmp_path / "file", b"one")
    cache = StatCache()
    cache.sha256(path)
    entries = aged(cache).to_json()
    entries[str(path)][5] = "digest of the cache"
    trusted = StatCache.from_json(entries)
    assert trusted.sha256(path) == "digest of the cache"
    assert not trusted.changed


def test_a_fresh_file_is_read_again(tmp_path: Path) -> None:
    """It may have changed within the clock's granularity: the racy entries of git's index."""
    path = tmp_path / "file"
    path.write_bytes(b"one")
    cache = StatCache()
    cache.sha256(path)
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert cache.sha256(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("content", [b"two", b"longer"])
def test_a_change_is_noticed_even_with_its_old_mtime(tmp_path: Path, content: bytes) -> None:
    path = settled(tmp_path / "file", b"one")
    cache = StatCache()
    cache.sha256(path)
    cache = aged(cache)
    time.sleep(0.02)  # ctime must move on; coarse clocks tick every few milliseconds
    settled(path, content)
    assert cache.sha256(path) == hashlib.sha256(content).hexdigest()
    assert cache.changed


def test_a_replaced_file_is_noticed(tmp_path: Path) -> None:
    path = settled(tmp_path / "file", b"one")
    cache = StatCache()
    cache.sha256(path)
    settled(tmp_path / "other", b"two").replace(path)
    assert aged(cache).sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StatCache().sha256(tmp_path / "missing")


def test_saved_and_loaded_without_the_files_that_are_gone(tmp_path: Path) -> None:
    kept, gone = settled(tmp_path / "kept", b"1"), settled(tmp_path / "gone", b"2")
    cache = StatCache()
    cache.sha256(kept)
    cache.sha256(gone)
    gone.unlink()
    cache.save(tmp_path / "cache" / "stat.json")
    loaded = StatCache.load(tmp_path / "cache" / "stat.json")
    assert loaded.to_json().keys() == {str(kept)}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["stat.json"]


@pytest.mark.parametrize("text", ["", "[]", "3", '{"a": 1}', '{"a": [1, 2]}', "\xff"])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stat.json"
    path.write_bytes(text.encode("latin-1"))
    assert StatCache.load(path).to_json() == {}
