"""The JSON of a FlowSpec is strict: what `to_json` would not write is not read."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from mfbuild.flow import codec
from mfbuild.flow.decode import decode
from mfbuild.flow.spec import CodeFile
from tests import specs


def value() -> Any:
    return copy.deepcopy(codec.to_json(specs.flow()))


def test_a_flow_comes_back() -> None:
    assert codec.from_json(value()) == specs.flow()


def drop(field: str) -> Callable[[Any], None]:
    return lambda v: v.pop(field)


def put(field: str, wrong: Any) -> Callable[[Any], None]:
    return lambda v: v.__setitem__(field, wrong)


@pytest.mark.parametrize(
    "damage",
    [
        drop("name"),
        put("extra", 1),
        put("name", None),
        put("line", "3"),
        put("line", True),
        put("steps", {}),
        put("configs", []),
        put("host", None),
        put("schedule", {"cron": "0 0 * * ? *"}),
        lambda v: v["steps"][0].__setitem__("type", "loop"),
        lambda v: v["steps"][0].__setitem__("next", [1]),
        lambda v: v["steps"][0].__setitem__("packages", {"a": None}),
        lambda v: v["host"].__setitem__("requirements", "requests"),
    ],
)
def test_other_values_are_refused(damage: Callable[[Any], Any]) -> None:
    changed = value()
    damage(changed)
    with pytest.raises(ValueError):
        codec.from_json(changed)


@pytest.mark.parametrize("document", [None, [], "flow", 3, {}])
def test_what_is_no_flow_at_all_is_refused(document: Any) -> None:
    with pytest.raises(ValueError):
        codec.from_json(document)


def test_a_code_file_has_a_path_or_a_text() -> None:
    file = {"arcname": "a", "path": "/a", "text": None, "executable": False}
    assert decode(CodeFile, file) == CodeFile("a", "/a", None, False)
    for path, text in ((None, None), ("/a", "text")):
        with pytest.raises(ValueError, match="exactly one"):
            decode(CodeFile, {**file, "path": path, "text": text})
