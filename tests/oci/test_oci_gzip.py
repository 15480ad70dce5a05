"""Gzip members: every decoder reads them, and their bytes never change."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.oci.gzip import HEADER, packed_member, stored_blocks, trailer

# Bytes as tar headers have them (long runs of few values), and bytes of every kind.
RUNS = st.lists(
    st.tuples(st.sampled_from([b"\0", b"0", b"a", b"\x8f", b"\x90", b"\xff"]), st.integers(0, 600))
).map(lambda runs: b"".join(byte * count for byte, count in runs))
ANY = st.binary(max_size=3000) | RUNS
EVERY_BYTE = bytes(range(256))


@settings(deadline=None)
@given(ANY)
def test_a_packed_member_holds_its_data(data: bytes) -> None:
    assert gzip.decompress(packed_member(data)) == data


@settings(deadline=None)
@given(ANY, ANY)
def test_members_follow_each_other(first: bytes, second: bytes) -> None:
    joined = packed_member(first) + packed_member(second) + packed_member(b"")
    assert gzip.decompress(joined) == first + second


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200)), st.integers(0, 3))
def test_stored_blocks_do_not_depend_on_the_pieces(chunks: list[bytes], big: int) -> None:
    chunks.append(bytes(65535) * big)
    data = b"".join(chunks)
    raw = b"".join(stored_blocks(chunks))
    assert raw == b"".join(stored_blocks([data]))
    assert zlib.decompress(raw, -15) == data


def test_a_transplanted_member_is_header_stream_and_trailer() -> None:
    raw = b"".join(stored_blocks([EVERY_BYTE]))
    member = HEADER + raw + trailer(zlib.crc32(EVERY_BYTE), len(EVERY_BYTE))
    assert gzip.decompress(member) == EVERY_BYTE


def test_the_trailer_keeps_sizes_modulo_4_gib() -> None:
    assert trailer(0x01020304, (1 << 32) + 5) == bytes([4, 3, 2, 1, 5, 0, 0, 0])


def test_gnu_gzip_accepts_the_members() -> None:
    layer = packed_member(EVERY_BYTE) + packed_member(b"spam" * 1000) + packed_member(b"")
    done = subprocess.run(["gzip", "-dc"], input=layer, capture_output=True, check=True)
    assert done.stdout == EVERY_BYTE + b"spam" * 1000


def test_a_header_is_mostly_runs_and_stays_small() -> None:
    assert len(packed_member(b"opt/venv/bin" + bytes(500))) < 50


def test_golden_bytes() -> None:
    data = EVERY_BYTE + bytes(1000) + b"0" * 300 + b"The quick brown fox. " * 4000
    golden = "b23f69bcc13b67b664fc636ce35d24e143c3c8b84ab252c9b51382a5c1d1ab7d"
    assert hashlib.sha256(packed_member(data)).hexdigest() == golden
