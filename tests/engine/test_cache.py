"""The action cache: what was put comes back, and what is damaged counts as absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mfbuild.engine.cache import Cache
from mfbuild.engine.key import Record
from mfbuild.engine.model import ActionResult, Digest
from mfbuild.engine.store import Store
from tests.engine.fakes import action, blob

KEY = Digest.of(b"key")
RESULT = ActionResult({"info": blob(b"info"), "layer": blob(b"layer")})
RECORD = Record.of(action("//x", params={"ä": 1}), {"in": KEY}, 2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


def only_file(directory: Path) -> Path:
    (found,) = (path for path in directory.rglob("*") if path.is_file())
    return found


def test_a_result_comes_back(store: Store) -> None:
    cache = Cache(store, "here")
    assert cache.get(KEY) is None
    cache.put(KEY, RESULT)
    assert cache.get(KEY) == RESULT
    assert Cache(store, "elsewhere").get(KEY) == RESULT


@pytest.mark.parametrize("part", ["ac", "history"])
def test_every_damage_counts_as_absent(store: Store, part: str) -> None:
    cache = Cache(store, "here")
    cache.put(KEY, RESULT)
    cache.remember("//x", RECORD)
    path = only_file(store.root / part)
    whole = path.read_bytes()
    damages = [whole[:n] for n in range(len(whole) - len("\n[]"))]
    damages += [
        whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(whole.rindex(b"}"))
    ]
    damages += [b"\xff\n\xfe", b"\n" * 5]
    for damage in damages:
        path.write_bytes(damage)
        assert (cache.get(KEY) if part == "ac" else cache.last("//x")) is None, damage
    path.write_bytes(whole)
    assert (cache.get(KEY), cache.last("//x")) == (RESULT, RECORD)


@pytest.mark.parametrize("text", ["{}", "[]", '{"outputs":{"x":{"digest":"md5:0","size":1}}}'])
def test_a_result_of_another_form_counts_as_absent(store: Store, text: str) -> None:
    cache = Cache(store, "here")
    cache.put(KEY, RESULT)
    path = only_file(store.root / "ac")
    path.write_text(f"{Digest.of(text.encode()).hex}\n{text}")
    assert cache.get(KEY) is None


def test_history_is_each_workspaces_own(store: Store) -> None:
    here, there = Cache(store, "here"), Cache(store, "there")
    assert here.last("//x") is None
    assert not here.is_last("//x", RECORD.key())
    here.remember("//x", replace(RECORD, why=("never built",)))
    assert here.last("//x") == replace(RECORD, why=("never built",))
    assert here.is_last("//x", RECORD.key())
    assert not here.is_last("//x", KEY)
    assert there.last("//x") is None
    assert here.last("//y") is None
