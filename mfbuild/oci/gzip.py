"""Gzip members (RFC 1952) whose bytes depend on their input alone.

A layer is a concatenation of members: every member's header has mtime 0, XFL 0, OS 255 and no
name. libdeflate compresses (pinned, so that no zlib version shapes a layer), and what a wheel has
already deflated is copied between `HEADER` and `trailer`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_STORED_MAX = 0xFFFF


def trailer(crc32: int, size: int) -> bytes:
    """The end of a member whose content has this CRC-32 and size (kept modulo 2**32)."""
    return struct.pack("<II", crc32, size & 0xFFFFFFFF)


def packed_member(data: bytes | bytearray) -> bytes:
    """One member that holds `data`, compressed as a whole by libdeflate at level 6."""
    import deflate

    return HEADER + deflate.deflate_compress(data, 6) + trailer(zlib.crc32(data), len(data))


def stored_blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A raw DEFLATE stream of stored blocks (RFC 1951 section 3.2.4) with the content of `chunks`.

    The stream depends on the content only, not on how it is cut into chunks.
    """
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) > _STORED_MAX:
            yield struct.pack("<BHH", 0, _STORED_MAX, 0) + held[:_STORED_MAX]
            del held[:_STORED_MAX]
    yield struct.pack("<BHH", 1, len(held), len(held) ^ 0xFFFF) + held
