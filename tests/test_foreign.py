"""JSON of others: a value, or a ValueError."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.engine.foreign import MAX_DEPTH, has_nul, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_json_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary() | st.text())
def test_anything_else_is_a_value_error(data: bytes | str) -> None:
    with contextlib.suppress(ValueError):
        parse_json(data)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_values_are_refused(depth: int, opening: str, closing: str) -> None:
    text = opening * depth + "1" + closing * depth
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        parse_json(text)


def test_values_may_be_as_deep_as_people_write_them() -> None:
    assert json.dumps(parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)) == "[" * 100 + "]" * 100


@pytest.mark.parametrize("data", [b'{"a": "\xff"}', b"\xff\xfe\x00", "9" * 6000, "", b"{"])
def test_what_no_parser_takes(data: bytes | str) -> None:
    with pytest.raises(ValueError):
        parse_json(data)


@pytest.mark.parametrize("value", ["a\0", ["a", ["\0"]], {"a": {"b": "\0"}}, {"\0": 1}])
def test_nul_is_found_wherever_it_is(value: Any) -> None:
    assert has_nul(value)
    assert not has_nul(json.loads(json.dumps(value).replace("\\u0000", "\\u0001")))
