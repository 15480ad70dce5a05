"""Any message of a kind, for properties of what works on all of them."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)

_WHOLE = {
    FieldDescriptor.TYPE_INT32: st.integers(-3, 3),
    FieldDescriptor.TYPE_INT64: st.integers(-3, 3),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 3),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 3),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_STRING: st.text("ab\n", max_size=2),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=2),
}


@st.composite
def messages(draw: st.DrawFn, kind: type[M], depth: int = 6) -> M:
    """Messages with a few fields set, and a few of those below."""
    message: M = kind()
    fields = list(message.DESCRIPTOR.fields)
    for _ in range(draw(st.integers(0, 3)) if fields else 0):
        _fill(draw, message, draw(st.sampled_from(fields)), depth)
    return message


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    target: Any = getattr(message, field.name)
    if field.message_type is None:
        value = draw(_scalars(field))
        if _is_list(target):
            target.append(value)
        else:
            setattr(message, field.name, value)
    elif field.message_type.GetOptions().map_entry:
        _fill_map(draw, target, field.message_type.fields_by_name["value"], depth)
    elif depth and _is_list(target):
        inner = target.add()
        inner.CopyFrom(draw(messages(type(inner), depth - 1)))
    elif depth:
        target.CopyFrom(draw(messages(type(target), depth - 1)))


def _fill_map(draw: st.DrawFn, target: Any, value: FieldDescriptor, depth: int) -> None:
    key = draw(st.sampled_from(["", "a", "b"]))
    if value.message_type is None:
        target[key] = draw(_scalars(value))
    elif depth:
        inner = target[key]
        inner.CopyFrom(draw(messages(type(inner), depth - 1)))


def _scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from(list(field.enum_type.values_by_number))
    return _WHOLE[field.type]


def _is_list(value: Any) -> bool:
    return not isinstance(value, Message) and hasattr(value, "extend")
