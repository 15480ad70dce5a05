"""Flyte's inputs, outputs and errors as protobuf: the few messages of flyteidl that a step needs.

Field numbers are those of flyteidl 1.16, core/{literals,errors,execution}.proto, with proto3's
rules: fields in the order of their numbers, no default values, map keys sorted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Union

Value = Union[None, bool, int, float, str, "Sequence[Value]"]

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5


def literal_map(values: Mapping[str, Value]) -> bytes:
    """core.LiteralMap: what `outputs.pb` holds."""
    return b"".join(
        message(1, message(1, name.encode("utf-8")) + message(2, literal(value)))
        for name, value in sorted(values.items())
    )


def literal(value: Value) -> bytes:
    """core.Literal of a scalar or of a list. A scalar's bytes are also a core.BindingData's."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return message(2, b"".join(message(1, literal(item)) for item in value))
    return message(1, _scalar(value))


def _scalar(value: Value) -> bytes:
    if value is None:
        return message(5, b"")  # Scalar.none_type
    return message(1, _primitive(value))


def _primitive(value: Value) -> bytes:
    """core.Primitive, a oneof: its default values are written too."""
    if isinstance(value, bool):
        return integer(4, value)
    if isinstance(value, int):
        return integer(1, value)
    if isinstance(value, float):
        return _tag(2, _I64) + struct.pack("<d", value)
    assert isinstance(value, str)
    return message(3, value.encode("utf-8"))


def error_document(code: str, text: str, *, recoverable: bool = False) -> bytes:
    """core.ErrorDocument, what `error.pb` holds: read where the container exits with 0."""
    kind = integer(3, 1) if recoverable else b""  # NON_RECOVERABLE is 0
    origin = integer(4, 1)  # core.ExecutionError.ErrorKind.USER
    error = message(1, code.encode("utf-8")) + message(2, text.encode("utf-8")) + kind + origin
    return message(1, error)


def read_literal_map(data: bytes) -> dict[str, bytes]:
    """core.LiteralMap as the bytes of each core.Literal. Raises ValueError where it is none."""
    found = {}
    for number, entry in fields(data):
        if number == 1:
            pair = dict(fields(_bytes(entry)))
            found[_bytes(pair.get(1, b"")).decode("utf-8")] = _bytes(pair.get(2, b""))
    return found


def read_literal(data: bytes) -> Value:
    """The value of a core.Literal: a primitive, none, a union of such, or a list.

    Raises ValueError for any other.
    """
    for number, content in fields(data):
        if number == 1:
            return _read_scalar(_bytes(content))
        if number == 2:
            return [read_literal(_bytes(item)) for n, item in fields(_bytes(content)) if n == 1]
    raise ValueError("an input is neither a scalar nor a list")


def _read_scalar(data: bytes) -> Value:
    for number, content in fields(data):
        if number == 1:
            return _read_primitive(_bytes(content))
        if number == 5:
            return None
        if number == 9:  # Scalar.union: its value (1) beside its type
            return read_literal(_bytes(dict(fields(_bytes(content))).get(1, b"")))
    raise ValueError("an input is a scalar that is neither a primitive nor none")


def _read_primitive(data: bytes) -> Value:
    for number, content in fields(data):
        if number == 3:
            return _bytes(content).decode("utf-8")
        if isinstance(content, int) and number == 1:
            return content - (1 << 64) if content >> 63 else content
        if isinstance(content, int) and number == 2:
            found: float = struct.unpack("<d", struct.pack("<Q", content))[0]
            return found
        if number == 4:
            return bool(content)
    raise ValueError("an input is a primitive that is no number, text or boolean")


def _bytes(content: int | bytes) -> bytes:
    if isinstance(content, int):
        raise ValueError("a number stands where a message must")
    return content


def message(number: int, content: bytes) -> bytes:
    """A field of type message, string or bytes."""
    return _tag(number, _LEN) + _varint(len(content)) + content


def integer(number: int, value: int) -> bytes:
    """A field of type int64 or an enumeration, in two's complement; 0 is written as well."""
    return _tag(number, _VARINT) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, content) of each field of a message. Raises ValueError where it is none.

    Content is bytes, or an unsigned integer for a varint and the fixed-width types.
    """
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            content, position = _read_varint(data, position)
            yield tag >> 3, content
            continue
        size = {_I64: 8, _I32: 4}.get(kind)
        if size is None:
            if kind != _LEN:
                raise ValueError(f"the wire type {kind} is not in use")
            size, position = _read_varint(data, position)
        chunk = data[position : position + size]
        if len(chunk) < size:
            raise ValueError("a message ends too early")
        position += size
        yield tag >> 3, chunk if kind == _LEN else int.from_bytes(chunk, "little")


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    """An unsigned integer in base 128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise ValueError("a message ends within a number, or the number is too long")
