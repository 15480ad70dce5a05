"""Files appear whole or not at all, and the disk's refusals are said in one way."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mfbuild.errors import StoreError
from mfbuild.files import disk_errors, locked, make_folder, words_of, write_atomically
from tests.children import WAIT, arguments, child, kill_at, line, ready

OLD, NEW = b"old" * 1000, b"new" * 100_000


def write_in_pieces(path: Path, scratch: Path) -> None:
    write_atomically(path, (NEW[i : i + 1000] for i in range(0, len(NEW), 1000)), scratch=scratch)


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "beside": lambda path, _: write_atomically(path, NEW),
    "durable": lambda path, _: write_atomically(path, NEW, durable=True),
    "in pieces": write_in_pieces,
}


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The error path of a full disk, on any machine."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@pytest.mark.parametrize("writer", WRITERS)
def test_folders_are_made_and_the_content_replaced(tmp_path: Path, writer: str) -> None:
    (tmp_path / "scratch").mkdir()
    for _ in range(2):
        WRITERS[writer](tmp_path / "a/b/file", tmp_path / "scratch")
        assert (tmp_path / "a/b/file").read_bytes() == NEW
        assert names(tmp_path) == ["a/b/file"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with pytest.raises(OSError) as caught, files_of_at_most(len(OLD)):
        WRITERS[writer](path, tmp_path)
    assert caught.value.filename == str(path)
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError])
def test_content_that_breaks_off_leaves_what_was_there(
    tmp_path: Path, end: type[BaseException]
) -> None:
    def broken() -> Iterator[bytes]:
        yield NEW
        raise end

    path = tmp_path / "file"
    path.write_bytes(OLD)
    with pytest.raises(end):
        write_atomically(path, broken())
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == OLD


def test_an_error_names_the_file_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, found in (("folder", "folder"), ("file/x", "file")):
        with pytest.raises(OSError) as caught:
            write_atomically(tmp_path / path, b"")
        assert caught.value.filename == str(tmp_path / found)
        assert names(tmp_path) == ["file"]


def test_a_mode_holds_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for mode, found in ((0o600, 0o600), (0o644, 0o644), (0o444, 0o444), (None, 0o640)):
            write_atomically(tmp_path / "file", b"", mode=mode)
            assert (tmp_path / "file").stat().st_mode & 0o777 == found
    finally:
        os.umask(before)


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("durable", [False, True])
def test_a_killed_writer_leaves_the_old_or_the_new(
    tmp_path: Path, number: int, durable: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with child(__spec__.name, tmp_path, "durable" if durable else "", number) as process:
        assert line(process) == "ready"
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
        ended = process.wait(WAIT)
    assert ended in (0, -signal.SIGKILL)
    assert path.read_bytes() in (OLD, NEW)
    assert ended or path.read_bytes() == NEW


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    for durable in (False, True):
        for _ in range(2):
            make_folder(tmp_path / f"{durable}/a/b", durable=durable)
            assert (tmp_path / f"{durable}/a/b").is_dir()


def test_one_is_alone_with_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "folder/lock"
    with locked(path), path.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_disk_is_told_of_in_one_way(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught, disk_errors(StoreError, "cannot x", tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    (problem,) = caught.value.problems
    assert problem.message == "cannot x: no space left on device"
    assert problem.where == str(tmp_path)
    assert problem.hint == "free some space there or with `mfbuild gc --max-size 10G`"
    with pytest.raises(StoreError) as caught, disk_errors(StoreError, "cannot x", tmp_path):
        (tmp_path / "none").read_bytes()
    (problem,) = caught.value.problems
    assert problem.message == "cannot x: no such file or directory"
    assert (problem.where, problem.hint) == (str(tmp_path / "none"), None)


def test_errors_without_words_of_the_system_have_their_own() -> None:
    found = (OSError("own words"), OSError(), ValueError("broken"), KeyError())
    assert [words_of(e) for e in found] == ["own words", "OSError", "broken", "KeyError"]


def main() -> None:
    root, mode, number = arguments()
    ready()
    kill_at(root, number)
    write_atomically(root / "file", NEW, durable=mode == "durable")


if __name__ == "__main__":
    main()
