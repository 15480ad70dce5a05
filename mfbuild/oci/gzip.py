"""Gzip members (RFC 1952) whose bytes depend on their input alone.

A layer is a concatenation of members: every member's header has mtime 0, XFL 0, OS 255 and no
name. Tar headers are encoded here, content by libdeflate (pinned, so that no zlib version shapes a
layer), and what a wheel has already deflated is copied between `HEADER` and `trailer`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_STORED_MAX = 0xFFFF
_FLUSH_BITS = 1 << 13


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


def fixed_member(data: bytes | bytearray) -> bytes:
    """One member that holds `data` as a fixed-Huffman block; meant for tar headers and padding."""
    return HEADER + _fixed_block(data) + trailer(zlib.crc32(data), len(data))


def _reversed(code: int, count: int) -> int:
    """Huffman codes are packed from their most significant bit on (RFC 1951 section 3.1.1)."""
    return int(f"{code:0{count}b}"[::-1], 2)


# RFC 1951 section 3.2.6: literals below 144 have 8-bit codes from 0x30, the others 9-bit codes.
_SHORT = bytes(_reversed(0x30 + b, 8) if b < 144 else 0 for b in range(256))
_LONG = {b: _reversed(0x190 + b - 144, 9) for b in range(144, 256)}

# What plain 8-bit codes do not cover, or not well: long literals, runs of NUL and of the digit 0.
_SPECIAL = re.compile(rb"\0{4,}|0{4,}|[\x90-\xff]")


@cache
def _match(length: int) -> tuple[int, int]:
    """Code and bit count of <`length`, distance 1>, 3 <= length <= 258 (section 3.2.5)."""
    if length == 258:
        symbol, extra, base = 285, 0, 258
    elif length < 11:
        symbol, extra, base = 254 + length, 0, length
    else:
        extra = (length - 3).bit_length() - 3
        step = (length - 3 >> extra) & 3
        symbol, base = 261 + 4 * extra + step, ((4 + step) << extra) + 3
    bits = 7 if symbol < 280 else 8
    code = _reversed(symbol - 256 if symbol < 280 else 0xC0 + symbol - 280, bits)
    # The distance code 0 is five zero bits.
    return code | (length - base) << bits, bits + extra + 5


@lru_cache(maxsize=4096)
def _run(byte: int, length: int) -> tuple[int, int]:
    """Code and bit count of `length` times the literal `byte` (below 144)."""
    bits, count, left = _SHORT[byte], 8, length - 1
    while left >= 3:
        code, width = _match(min(left, 258))
        bits |= code << count
        count += width
        left -= min(left, 258)
    for _ in range(left):
        bits |= _SHORT[byte] << count
        count += 8
    return bits, count


def _fixed_block(data: bytes | bytearray) -> bytes:
    """`data` as one final DEFLATE block with fixed Huffman codes."""
    done: list[bytes] = []
    bits, count, at = 0b011, 3, 0
    for found in _SPECIAL.finditer(data):
        start, end = found.span()
        if start > at:
            bits |= int.from_bytes(data[at:start].translate(_SHORT), "little") << count
            count += 8 * (start - at)
        at, byte = end, data[start]
        code, width = (_LONG[byte], 9) if byte >= 144 else _run(byte, end - start)
        bits |= code << count
        count += width
        if count > _FLUSH_BITS:  # keeps the integer small, and with it every shift
            whole = count & ~7
            done.append((bits & (1 << whole) - 1).to_bytes(whole >> 3, "little"))
            bits, count = bits >> whole, count - whole
    if at < len(data):
        bits |= int.from_bytes(data[at:].translate(_SHORT), "little") << count
        count += 8 * (len(data) - at)
    done.append(bits.to_bytes(count + 7 + 7 >> 3, "little"))  # the end-of-block code is 7 zeros
    return b"".join(done)
