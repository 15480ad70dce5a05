"""Protobuf messages in files, each with a checksum that other readers of the message pass over."""

from __future__ import annotations

import hashlib
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from mfbuild.engine.kept import Damaged

M = TypeVar("M", bound=Message)

# A field of 32 bytes with the highest number that there is (2^29 - 1), which no message of Flyte's
# has: parsers keep or skip fields that they do not know.
_TAG = b"\xfa\xff\xff\xff\x0f\x20"
_SIZE = len(_TAG) + hashlib.sha256().digest_size


def with_checksum(message: bytes) -> bytes:
    """An encoded message with the sha256 of it at its end."""
    return message + _TAG + hashlib.sha256(message).digest()


def parse_checked(kind: type[M], data: bytes) -> M:
    """The message of `with_checksum`; Damaged for anything else."""
    message = data[:-_SIZE]
    if data != with_checksum(message):
        raise Damaged
    try:
        found: M = kind.FromString(message)
        return found
    except DecodeError:
        raise Damaged from None
