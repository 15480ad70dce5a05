"""Explanations: down to what first changed, or why it last ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfbuild.engine.cache import Cache
from mfbuild.engine.explain import explain
from mfbuild.engine.model import Action, Digest
from mfbuild.engine.store import Store
from tests.engine.fakes import Workshop, action, out

GOAL = out("//image")


def actions(shop: Workshop, flow: bytes) -> list[Action]:
    return [
        action("//layer", {"wheel": shop.source("wheel", b"wheel")}),
        action("//code", {"flow": shop.source("flow", flow)}),
        action("//image", {"code": out("//code"), "layer": out("//layer")}),
    ]


def explained(shop: Workshop, flow: bytes, label: str) -> str:
    plan = shop.plan(actions(shop, flow), GOAL)
    with Store.open(shop.root) as store:
        found = explain(plan, label, Cache(store, shop.workspace).last)
    return "\n".join(map(str, found))


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_the_input_that_changed_is_named(shop: Workshop) -> None:
    shop.build(actions(shop, b"old"), GOAL)
    assert explained(shop, b"new", "//image") == (
        "`//image` runs if its inputs change:\n"
        "  after `//code`\n"
        "`//code` must run:\n"
        f"  input `flow` changed: {Digest.of(b'old')} -> {Digest.of(b'new')}"
    )


def test_why_it_last_ran(shop: Workshop) -> None:
    shop.build(actions(shop, b"old"), GOAL)
    shop.build(actions(shop, b"new"), GOAL)
    changed = f"input `flow` changed: {Digest.of(b'old')} -> {Digest.of(b'new')}"
    assert (
        explained(shop, b"new", "//code") == f"`//code` is up to date; the last time:\n  {changed}"
    )
    assert explained(shop, b"new", "//layer").endswith("the last time:\n  never built")


def test_a_result_of_another_workspace(shop: Workshop) -> None:
    shop.build(actions(shop, b"old"), GOAL)
    other = Workshop(shop.root, workspace="other")
    assert explained(other, b"old", "//code") == "`//code` is up to date"
    other.build(actions(other, b"old"), GOAL)
    assert explained(other, b"old", "//code").endswith("its result was in the cache already")
    assert f"{Digest.of(b'old')} -> {Digest.of(b'new')}" in explained(other, b"new", "//code")


def test_an_unknown_label(shop: Workshop) -> None:
    with pytest.raises(KeyError):
        explained(shop, b"", "//nothing")
