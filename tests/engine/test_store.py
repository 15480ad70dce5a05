"""The store: blobs whole or absent, damage noticed before use, nothing left behind."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mfbuild.engine.model import Digest
from mfbuild.engine.store import BlobCorrupted, Store
from mfbuild.errors import StoreError
from tests.engine.fakes import add, blob

NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As somebody whom permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_bytes_come_back(store: Store) -> None:
    added = add(store, b"hello")
    assert added == blob(b"hello")
    assert store.has(added)
    assert store.verified(added).read_bytes() == b"hello"
    assert b"".join(store.chunks(added)) == b"hello"
    assert str(store.path(added)).endswith(
        "cas/sha256/2c/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    )


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_blobs_are_read_only_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask), Store.open(tmp_path / "store") as store:
        added = add(store, b"x")
        assert stat.S_IMODE(store.path(added).stat().st_mode) == 0o444


def test_a_file_is_moved_in(store: Store) -> None:
    with store.temporary() as directory:
        path = directory / "out"
        path.write_bytes(b"data" * 1_000_000)
        os.utime(path, (0, 0))
        added = store.add_file(path)
        assert not path.exists()
    assert added == blob(b"data" * 1_000_000)
    assert time.time() - store.path(added).stat().st_mtime < 60


def test_a_link_is_not_taken_in(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    with store.temporary() as directory:
        (directory / "symlink").symlink_to(mine)
        (directory / "hard").hardlink_to(mine)
        for name in ("symlink", "hard"):
            with pytest.raises(AssertionError, match="is not a file of its own"):
                store.add_file(directory / name)
    assert not store.has(blob(b"mine"))


def test_damage_of_the_same_size_is_noticed(store: Store, tmp_path: Path) -> None:
    added = add(store, b"good")
    store.path(added).chmod(0o644)
    store.path(added).write_bytes(b"evil")
    with Store.open(tmp_path / "store") as later:
        for use in (later.verified, lambda b: list(later.chunks(b))):
            with pytest.raises(BlobCorrupted) as caught:
                use(added)
            assert str(caught.value) == f"blob `{added.digest}` is damaged in the store"
            assert caught.value.blob == added
        later.discard(added)
        assert not later.has(added)
        with pytest.raises(BlobCorrupted, match="is missing from the store"):
            later.verified(added)
        with pytest.raises(BlobCorrupted, match="is missing from the store"):
            list(later.chunks(added))


def test_a_truncated_blob_is_absent(store: Store) -> None:
    added = add(store, b"long enough")
    store.path(added).chmod(0o644)
    os.truncate(store.path(added), 3)
    assert not store.has(added)


def test_adding_a_blob_heals_it(store: Store) -> None:
    added = add(store, b"good")
    store.path(added).chmod(0o644)
    store.path(added).write_bytes(b"evil")
    add(store, b"good")
    assert store.path(added).read_bytes() == b"good"


def test_use_is_noted(store: Store) -> None:
    added = add(store, b"x")
    os.utime(store.path(added), (1000, 1000))
    assert store.has(added)
    assert time.time() - store.path(added).stat().st_mtime < 60


def test_temporary_directories_go_even_if_they_are_read_only(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    (tmp_path / "store").chmod(0o777)
    (tmp_path / "store" / "tmp").chmod(0o777)
    at = os.open(tmp_path / "store", os.O_RDONLY)
    before = Path.cwd()
    os.fchdir(at)
    try:
        with unprivileged(), Store(Path(), os.dup(at)) as relative, relative.temporary() as path:
            (path / "locked" / "deeper").mkdir(parents=True)
            (path / "locked" / "link").symlink_to(outside)
            (path / "locked" / "deeper" / "file").touch()
            (path / "locked" / "deeper").chmod(0o000)
            (path / "locked").chmod(0o500)
        assert list((tmp_path / "store" / "tmp").iterdir()) == []
        assert stat.S_IMODE(outside.stat().st_mode) == 0o750
    finally:
        os.chdir(before)
        os.close(at)


def test_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store.open(root):
        (root / "tmp" / "dead").mkdir()
        (root / "tmp" / "dead" / "half").write_bytes(b"half")
        (root / "tmp" / "file").touch()
        # Not while another has it open: the files may be that one's.
        with Store.open(root):
            assert sorted(p.name for p in (root / "tmp").iterdir()) == ["dead", "file"]
    with Store.open(root):
        assert list((root / "tmp").iterdir()) == []


def test_exclusive_is_refused_while_another_has_it_open(store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as other:
        with pytest.raises(StoreError, match="is in use"), store.exclusive():
            pass
        add(other, b"x")
    with store.exclusive():
        pass


def test_one_digest_is_worked_on_once_at_a_time(store: Store) -> None:
    class Waited(Exception):
        pass

    def pause() -> None:
        raise Waited

    digest = Digest.of(b"")
    with store.locked(digest, pause):
        with pytest.raises(Waited), store.locked(digest, pause):
            pass
        with store.locked(Digest.of(b"other"), pause):
            pass
    with store.locked(digest, pause):
        pass


def test_a_store_that_cannot_be_written_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o555)
    monkeypatch.chdir(tmp_path)
    with unprivileged(), pytest.raises(StoreError) as caught:
        Store.open(Path("store"))
    (problem,) = caught.value.problems
    assert problem.message == "cannot use the store at `store`: permission denied"
    assert problem.hint == "make it writable, or set XDG_CACHE_HOME to a folder that is"
    tmp_path.chmod(0o755)


def test_a_store_that_becomes_read_only_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    with unprivileged(), Store.open(Path("store")) as store:
        kept = add(store, b"kept")
        Path("store/tmp").chmod(0o555)
        with pytest.raises(StoreError, match="permission denied"):
            add(store, b"more")
        with pytest.raises(StoreError, match="permission denied"):
            store.write(Path("store/ac/x"), b"more")
        Path("store/tmp").chmod(0o755)
        assert store.verified(kept).read_bytes() == b"kept"


def test_a_file_in_the_way_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(StoreError, match=r"cannot use the store at `.*/store.*`: "):
        Store.open(tmp_path / "store")
