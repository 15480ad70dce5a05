"""Ids of nodes that are short enough to name pods: flyteplugins' pluginmachinery/encoding."""

from __future__ import annotations

import base64

LONGEST = 20
_ALPHABET = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"abcdefghijklmnopqrstuvwxyz123456"
)


def short_id(name: str) -> str:
    """The name itself, or a digest where it is too long."""
    if len(name) <= LONGEST:
        return name
    digest = 0x811C9DC5  # FNV-1a, 32 bits
    for byte in name.encode():
        digest = (digest ^ byte) * 0x01000193 % (1 << 32)
    encoded = base64.b32encode(digest.to_bytes(4, "big")).rstrip(b"=").translate(_ALPHABET)
    return "f" + encoded.decode()


def unique_id(parent: str, node: str) -> str:
    """The id of a node within its execution: that of its parent's first attempt comes first."""
    return short_id(f"{parent}-0-{node}" if parent else node)
