"""Builds that are killed, interrupted, raced by others or out of space leave a store that works."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import pytest

from mfbuild.engine.model import ActionResult
from tests.children import WAIT, child, let_go, line
from tests.engine.child import GOALS, SIZE, actions
from tests.engine.fakes import Workshop

CHILD = "tests.engine.child"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ActionResult]:
    shop = Workshop(tmp_path_factory.mktemp("store"))
    return dict(shop.build(actions(shop), *GOALS)[0])


def assert_sound(root: Path, undisturbed: dict[str, ActionResult]) -> None:
    """No blob is half-written, and a build in this store makes what one elsewhere makes."""
    for path in (root / "cas").rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            assert path.stat().st_mode & 0o777 == 0o444
    shop = Workshop(root)
    results, events = shop.build(actions(shop), *GOALS)
    assert (results, events.warnings) == (undisturbed, [])
    assert shop.leftovers() == []


@pytest.mark.parametrize("moment", [1, 5, 9, 14, 20, 26, 33, 41, 50, 60, 71, 83, 96])
def test_a_build_may_be_killed_at_any_moment(
    tmp_path: Path, undisturbed: dict[str, ActionResult], moment: int
) -> None:
    root = tmp_path / "store"
    with child(CHILD, root, "kill", moment) as process:
        assert process.wait(WAIT) == -signal.SIGKILL
    assert_sound(root, undisturbed)


def test_two_builds_at_once_share_the_work(
    tmp_path: Path, undisturbed: dict[str, ActionResult]
) -> None:
    root = tmp_path / "store"
    with child(CHILD, root, "race") as one, child(CHILD, root, "race") as two:
        let_go(one, two)
        made = line(one)
        assert made.startswith("{")
        assert line(two) == made
        assert (one.wait(WAIT), two.wait(WAIT)) == (0, 0)
    ran = (tmp_path / "log").read_text().split()
    assert sorted(ran) == ["//base", "//middle", "//side", "//top"]
    assert_sound(root, undisturbed)


def test_an_interrupted_build_ends_cleanly(
    tmp_path: Path, undisturbed: dict[str, ActionResult]
) -> None:
    root = tmp_path / "store"
    with child(CHILD, root, "interrupt") as process:
        assert [line(process), line(process)] == ["running", "running"]
        process.send_signal(signal.SIGINT)
        assert line(process) == '["interrupted", null]'
        assert process.wait(WAIT) == 130
    assert Workshop(root).leftovers() == []
    assert_sound(root, undisturbed)


def test_the_death_of_one_build_lets_another_go_on(
    tmp_path: Path, undisturbed: dict[str, ActionResult]
) -> None:
    root = tmp_path / "store"
    with child(CHILD, root, "interrupt") as process:
        assert [line(process), line(process)] == ["running", "running"]
        # The child holds the locks of //base and //side, for which this build has to wait.
        shop = Workshop(root, on_start={"//base": process.kill})
        results, _ = shop.build(actions(shop), *GOALS)
    assert results == undisturbed


def test_a_build_with_nothing_to_do_imports_no_threads(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.build(actions(shop), *GOALS)
    with child(CHILD, tmp_path, "idle") as process:
        assert line(process) == "[]"
        assert process.wait(WAIT) == 0


@pytest.mark.parametrize("space", [1, 100, SIZE // 2, SIZE + 10])
def test_a_disk_that_is_full_is_said_so(
    tmp_path: Path, undisturbed: dict[str, ActionResult], space: int
) -> None:
    root = tmp_path / "store"
    with child(CHILD, root, "full", space) as process:
        message = line(process)
        assert message.startswith(f'["cannot use the store at `{root}')
        assert message.endswith(
            ': file too large", "free some space there or with `mfbuild gc --max-size 10G`"]'
        )
        assert process.wait(WAIT) == 1
    assert Workshop(root).leftovers() == []
    assert_sound(root, undisturbed)
