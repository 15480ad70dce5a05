"""Keys: every field of an action is classified, and only what is keyed changes the key."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from mfbuild.engine.key import Reason, Record, changes
from mfbuild.engine.model import Action, Digest, Source
from tests.engine.fakes import action, blob, out

A, B = Digest.of(b"a"), Digest.of(b"b")
KEYED = ("tool", "params", "inputs", "outputs")
UNKEYED = ("label", "description")
BASE = action("//x", {"in": out("//y")}, params={"user": 1})
OTHER: dict[str, Any] = {
    "tool": "first",
    "params": '{"user":2}',
    "inputs": (("other", out("//y")),),
    "outputs": ("info", "out"),
    "label": "//z",
    "description": "something else",
}


def key(given: Action, version: int = 1) -> Digest:
    return Record.of(given, {name: A for name, _ in given.inputs}, version).key()


def test_every_field_is_keyed_or_not() -> None:
    assert sorted(KEYED + UNKEYED) == sorted(field.name for field in fields(Action))
    assert sorted(OTHER) == sorted(KEYED + UNKEYED)


@pytest.mark.parametrize("name", KEYED)
def test_a_keyed_field_changes_the_key(name: str) -> None:
    assert key(replace(BASE, **{name: OTHER[name]})) != key(BASE)


@pytest.mark.parametrize("name", UNKEYED)
def test_any_other_field_does_not(name: str) -> None:
    assert key(replace(BASE, **{name: OTHER[name]})) == key(BASE)


def test_the_tool_version_and_the_digests_are_keyed() -> None:
    assert key(BASE, version=2) != key(BASE)
    assert Record.of(BASE, {"in": B}, 1).key() != key(BASE)


def test_where_an_input_comes_from_is_not() -> None:
    given = replace(BASE, inputs=(("in", Source(blob(b"a"), "file:/here")),))
    assert key(given) == key(BASE)


def test_the_key_is_the_same_on_every_machine() -> None:
    golden = "sha256:d82f1d98ba7e371ee8b6615821553b8778237cbac8e1862b6c6e9b517faa04d2"
    assert str(key(BASE)) == golden


def test_a_record_survives_being_written() -> None:
    record = Record.of(BASE, {"in": A}, 3)
    assert Record.parse(record.canonical(), why=("x",)) == replace(record, why=("x",))
    assert replace(record, why=("x",)).key() == record.key()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tool": "first"}, "tool changed: join -> first"),
        ({"tool_version": 3}, "tool `join` is version 3 (was 2)"),
        ({"params": '{"user":2}'}, "parameter `user` changed: 1 -> 2"),
        ({"params": '{"user":1,"x":"é"}'}, 'parameter `x` is new: "é"'),
        ({"params": "{}"}, "parameter `user` is gone: 1"),
        ({"params": "[1]"}, 'parameters changed: {"user":1} -> [1]'),
        ({"inputs": {"in": B}}, f"input `in` changed: {A} -> {B}"),
        ({"inputs": {"in": A, "more": B}}, f"input `more` is new: {B}"),
        ({"inputs": {}}, f"input `in` is gone: {A}"),
        ({"outputs": ("info", "out")}, "outputs changed: out -> info, out"),
    ],
)
def test_what_changed_is_said(change: dict[str, Any], reason: str) -> None:
    old = Record.of(BASE, {"in": A}, 2)
    assert list(map(str, changes(old, replace(old, **change)))) == [reason]


def test_nothing_changed() -> None:
    assert changes(Record.of(BASE, {"in": A}, 2), Record.of(BASE, {"in": A}, 2)) == ()


def test_inputs_that_are_not_known_yet_are_left_out() -> None:
    old = Record.of(BASE, {"in": A}, 2)
    assert changes(old, replace(old, inputs={}), frozenset({"in"})) == ()


def test_a_brief_reason_cuts_digests() -> None:
    reason = Reason("input `in` changed", str(A), str(B))
    assert reason.brief() == f"input `in` changed: {str(A)[:19]}… -> {str(B)[:19]}…"
