"""A stream of output: passed on as it comes, and kept in the format that Metaflow reads."""

from __future__ import annotations

import io
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.runtime.logs import Stream


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "stdout"


def lines(path: Path) -> list[bytes]:
    """The lines as Metaflow's client takes them apart."""
    mflog: Any = import_module("metaflow.mflog.mflog")
    parsed = [mflog.parse(line) for line in path.read_bytes().splitlines()]
    assert all(line.logsource == b"task" for line in parsed)
    assert len({line.id for line in parsed}) == len(parsed)
    return [line.msg for line in parsed]


def test_a_line_is_kept_once_it_has_ended(kept: Path) -> None:
    read, write = os.pipe()
    with kept.open("wb", buffering=0) as file:
        stream = Stream(write, file)
        stream.feed(b"one\ntw")
        assert lines(kept) == [b"one"]
        stream.feed(b"o\n\nrest")
        assert lines(kept) == [b"one", b"two", b""]
        stream.finish()
        stream.finish()
    assert lines(kept) == [b"one", b"two", b"", b"rest"]
    assert os.read(read, 100) == b"one\ntwo\n\nrest"
    os.close(read)
    os.close(write)


def test_what_is_not_utf_8_hides_no_other_line(kept: Path) -> None:
    with kept.open("wb", buffering=0) as file, Path(os.devnull).open("wb") as sink:
        stream = Stream(sink.fileno(), file)
        stream.feed(b"\xff\x00 binary\n\xc3\xa9\n")
    assert [line.decode() for line in lines(kept)] == ["\ufffd\0 binary", "\xe9"]


def test_lines_that_come_at_once_stay_in_their_order(kept: Path) -> None:
    written = [b"%d" % number for number in range(50)]
    with kept.open("wb", buffering=0) as file, Path(os.devnull).open("wb") as sink:
        stream = Stream(sink.fileno(), file)
        stream.feed(b"\n".join(written[:20]) + b"\n")
        stream.feed(b"\n".join(written[20:]) + b"\n")
    merge: Any = import_module("metaflow.mflog.mflog").merge_logs
    assert [line.msg for line in merge([kept.read_bytes()])] == written


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_it_does_not_matter_how_output_is_cut(chunks: list[bytes]) -> None:
    found = []
    for parts in (chunks, [b"".join(chunks)]):
        kept = io.BytesIO()
        with Path(os.devnull).open("wb") as sink:
            stream = Stream(sink.fileno(), kept)
            for part in parts:
                stream.feed(part)
            stream.finish()
        found.append([line.partition(b"]")[2] for line in kept.getvalue().split(b"\n")])
    assert found[0] == found[1]


def test_a_line_without_end_is_kept_in_parts(kept: Path) -> None:
    with kept.open("wb", buffering=0) as file, Path(os.devnull).open("wb") as sink:
        stream = Stream(sink.fileno(), file)
        for _ in range(40):
            stream.feed(b"." * 65536)
        stream.finish()
    assert [len(line) for line in lines(kept)] == [17 * 65536, 17 * 65536, 6 * 65536]


def test_neither_a_full_disk_nor_a_deaf_reader_ends_the_step() -> None:
    read, write = os.pipe()
    os.close(read)
    with Path("/dev/full").open("wb", buffering=0) as full:
        stream = Stream(write, full)
        stream.feed(b"one\ntwo")
        stream.finish()
    os.close(write)
