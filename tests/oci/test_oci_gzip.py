"""Gzip members: every decoder reads them, and their bytes never change."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.oci.gzip import HEADER, fixed_member, packed_member, stored_blocks, trailer

# Bytes as tar headers have them (long runs of few values), and bytes of every kind.
RUNS = st.lists(
    st.tuples(st.sampled_from([b"\0", b"0", b"a", b"\x8f", b"\x90", b"\xff"]), st.integers(0, 600))
).map(lambda runs: b"".join(byte * count for byte, count in runs))
ANY = st.binary(max_size=3000) | RUNS
EVERY_BYTE = bytes(range(256))


@settings(deadline=None)
@given(ANY)
def test_a_fixed_member_holds_its_data(data: bytes) -> None:
    assert gzip.decompress(fixed_member(data)) == data


@pytest.mark.parametrize("byte", [b"\0", b"0", b"\xe9"])
def test_every_length_of_a_run_is_encoded(byte: bytes) -> None:
    for length in [*range(1100), 1 << 20]:
        data = b"x" + byte * length + b"y"
        assert gzip.decompress(fixed_member(data)) == data


@settings(deadline=None)
@given(ANY)
def test_a_packed_member_holds_its_data(data: bytes) -> None:
    assert gzip.decompress(packed_member(data)) == data


@settings(deadline=None)
@given(ANY, ANY)
def test_members_follow_each_other(first: bytes, second: bytes) -> None:
    joined = fixed_member(first) + packed_member(second) + fixed_member(b"")
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
    layer = fixed_member(EVERY_BYTE) + packed_member(b"spam" * 1000) + fixed_member(b"")
    done = subprocess.run(["gzip", "-dc"], input=layer, capture_output=True, check=True)
    assert done.stdout == EVERY_BYTE + b"spam" * 1000


def test_a_header_is_mostly_runs_and_stays_small() -> None:
    assert len(fixed_member(b"opt/venv/bin" + bytes(500))) < 50


@pytest.mark.parametrize(
    ("make", "sha256"),
    [
        (fixed_member, "d2d448b6bb6a42a8a7184e54ad42bd64de2987c2a6534160b87f1a6bbf5a2c87"),
        (packed_member, "b23f69bcc13b67b664fc636ce35d24e143c3c8b84ab252c9b51382a5c1d1ab7d"),
    ],
)
def test_golden_bytes(make: Callable[[bytes], bytes], sha256: str) -> None:
    data = EVERY_BYTE + bytes(1000) + b"0" * 300 + b"The quick brown fox. " * 4000
    assert hashlib.sha256(make(data)).hexdigest() == sha256
