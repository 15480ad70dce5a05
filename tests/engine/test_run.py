"""Builds: what runs, in which order, what failures say, and damage that is made good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mfbuild.engine.model import Action, ActionResult, Source, Work
from mfbuild.engine.store import Store
from mfbuild.errors import ActionError, FetchError, Interrupted, MfbuildError, Problem, StoreError
from tests.engine.fakes import Workshop, action, blob, join, out

WAIT = 30  # seconds after which a test that hangs fails


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "store")


def diamond(shop: Workshop, data: bytes = b"wheel") -> list[Action]:
    return [
        action("//top", {"a": out("//left"), "b": out("//right")}),
        action("//left", {"in": out("//base")}, tool="first"),
        action("//right", {"in": out("//base", "info")}),
        action("//base", {"wheel": shop.source("wheel", data)}, outputs=("info", "out")),
    ]


def content(shop: Workshop, result: ActionResult, name: str = "out") -> bytes:
    return shop.file(result.outputs[name]).read_bytes()


def flip(path: Path) -> None:
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def test_everything_runs_once(shop: Workshop) -> None:
    results, first = shop.build(diamond(shop), out("//top"))
    assert first.labels("ran") == ["//base", "//left", "//right", "//top"]
    assert first.labels("fetched") == ["mem:wheel"]
    assert first.bytes == {"mem:wheel": 5}
    assert content(shop, results["//top"]) == b'out "//top" o' + content(shop, results["//right"])
    again, second = shop.build(diamond(shop), out("//top"))
    assert again == results
    assert second.labels("cached") == ["//base", "//left", "//right", "//top"]
    assert len(second.done) == 4
    assert first.open == second.open == shop.leftovers() == []


def test_only_what_goals_need_runs(shop: Workshop) -> None:
    results, _ = shop.build(diamond(shop), out("//left"))
    assert sorted(results) == ["//base", "//left"]


def test_a_change_stops_where_it_no_longer_shows(shop: Workshop) -> None:
    def actions(data: bytes) -> list[Action]:
        base = action("//base", {"wheel": shop.source("wheel", data)})
        left = action("//left", {"in": out("//base")}, tool="first")
        return [base, left, action("//end", {"in": out("//left")})]

    shop.build(actions(b"wheel"), out("//end"))
    _, events = shop.build(actions(b"other"), out("//end"))
    assert events.labels("ran") == ["//base", "//left"]
    assert events.labels("cached") == ["//end"]


def test_a_download_is_not_made_for_what_is_cached(shop: Workshop) -> None:
    results, _ = shop.build(diamond(shop), out("//top"))
    shop.file(blob(b"wheel")).unlink()
    shop.downloads.clear()
    again, events = shop.build(diamond(shop), out("//top"))
    assert (again, events.labels("fetched")) == (results, [])


def test_a_missing_goal_is_made_again(shop: Workshop) -> None:
    results, _ = shop.build(diamond(shop), out("//top"))
    shop.file(results["//top"].outputs["out"]).unlink()
    shop.file(results["//right"].outputs["out"]).unlink()
    shop.file(results["//base"].outputs["out"]).unlink()
    again, events = shop.build(diamond(shop), out("//top"))
    assert again == results
    assert events.labels("ran") == ["//right", "//top"]


def test_no_cache_runs_everything_and_keeps_downloads(shop: Workshop) -> None:
    results, _ = shop.build(diamond(shop), out("//top"))
    again, events = shop.build(diamond(shop), out("//top"), fresh=True)
    assert again == results
    assert events.labels("ran") == ["//base", "//left", "//right", "//top"]
    assert events.labels("fetched") == []


def test_two_labels_with_one_key_run_once(shop: Workshop) -> None:
    both = [action(f"//{n}", params="same") for n in range(8)]
    _, events = shop.build(both, *(out(a.label) for a in both), jobs=8)
    assert (len(events.labels("ran")), len(events.labels("cached"))) == (1, 7)


def test_jobs_run_side_by_side(shop: Workshop) -> None:
    together = threading.Barrier(3)

    def meet(work: Work) -> None:
        together.wait(WAIT)
        join(work)

    shop.tool("meet", meet)
    three = [action(f"//{n}", tool="meet") for n in range(3)]
    shop.build(three, *(out(a.label) for a in three), jobs=3)


def test_downloads_do_not_take_the_place_of_jobs(shop: Workshop) -> None:
    downloading, made = threading.Event(), threading.Event()
    fetch = shop.fetch

    def slow(source: Source, destination: Path, tick: Callable[[int], None]) -> None:
        downloading.set()
        assert made.wait(WAIT)
        fetch(source, destination, tick)

    def quick(work: Work) -> None:
        assert downloading.wait(WAIT)
        join(work)
        made.set()

    shop.fetch = slow  # type: ignore[method-assign]
    shop.tool("quick", quick)
    actions = [action("//quick", tool="quick"), action("//slow", {"in": shop.source("x", b"x")})]
    _, events = shop.build(actions, out("//quick"), out("//slow"), jobs=1)
    assert events.labels("ran") == ["//quick", "//slow"]


def test_a_failure_cancels_the_rest_and_names_its_action(shop: Workshop) -> None:
    running = threading.Event()

    def endless(work: Work) -> None:
        running.set()
        pause = threading.Event()
        for _ in range(WAIT * 1000):
            work.tick(0)
            pause.wait(0.001)

    def failing(work: Work) -> None:
        assert running.wait(WAIT)
        raise ActionError("wheel `a.whl` has no RECORD", where="a.whl", hint="take another")

    shop.tool("endless", endless)
    shop.tool("failing", failing)
    actions = [action("//a", tool="endless"), action("//b", tool="failing")]
    actions.append(action("//c", {"in": out("//b")}))
    with pytest.raises(ActionError) as caught:
        shop.build(actions, out("//a"), out("//c"))
    assert caught.value.problems == (
        Problem("making `//b`: wheel `a.whl` has no RECORD", "a.whl", "take another"),
    )
    assert shop.leftovers() == []


def test_all_failures_are_reported(shop: Workshop) -> None:
    together = threading.Barrier(2)

    def failing(work: Work) -> None:
        together.wait(WAIT)
        raise ActionError(f"no {work.params}")

    shop.tool("failing", failing)
    actions = [action("//b", tool="failing", params=2), action("//a", tool="failing", params=1)]
    with pytest.raises(ActionError) as caught:
        shop.build(actions, out("//a"), out("//b"))
    messages = [problem.message for problem in caught.value.problems]
    assert messages == ["making `//a`: no 1", "making `//b`: no 2"]


def test_what_succeeded_before_a_failure_is_kept(shop: Workshop) -> None:
    def failing(work: Work) -> None:
        raise ActionError("no")

    shop.tool("fragile", failing)
    actions = [action("//a"), action("//b", {"in": out("//a")}, tool="fragile")]
    with pytest.raises(ActionError):
        shop.build(actions, out("//b"))
    shop.tool("fragile", join)
    _, events = shop.build(actions, out("//b"))
    assert (events.labels("cached"), events.labels("ran")) == (["//a"], ["//b"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda work: None, "it made [], not ['out']"),
        (lambda work: (work.outputs["out"].parent / "log").touch(), "it made ['log'], not ['out']"),
        (lambda work: work.outputs["out"].mkdir(), "/out/out` is not a file of its own"),
        (lambda work: 1 / 0, "division by zero"),
    ],
)
def test_a_tool_that_breaks_its_contract_is_a_bug(
    shop: Workshop, function: Callable[[Work], None], message: str
) -> None:
    shop.tool("wrong", function)
    with pytest.raises(AssertionError) as caught:
        shop.build([action("//x", tool="wrong")], out("//x"))
    assert str(caught.value).startswith("BUG: tool `wrong` on `//x`: ")
    assert str(caught.value).endswith(message)
    assert shop.leftovers() == []


def test_a_download_with_the_wrong_content_is_never_kept(shop: Workshop) -> None:
    source = shop.source("wheel", b"wheel")
    shop.downloads["mem:wheel"] = b"whale"
    with pytest.raises(FetchError) as caught:
        shop.build([action("//x", {"in": source})], out("//x"))
    assert str(caught.value) == (
        f"`mem:wheel` is not what was promised: expected `{blob(b'wheel').digest}` (5 bytes), "
        f"found `{blob(b'whale').digest}` (5 bytes)"
    )
    assert not shop.file(blob(b"whale")).exists()
    assert not shop.file(blob(b"wheel")).exists()
    assert shop.leftovers() == []


@pytest.mark.parametrize("victim", ["source", "output"])
def test_a_damaged_blob_is_named_and_made_again(shop: Workshop, victim: str) -> None:
    results, _ = shop.build(diamond(shop), out("//top"))
    top = results["//top"].outputs["out"]
    damaged = blob(b"wheel") if victim == "source" else results["//right"].outputs["out"]
    flip(shop.file(damaged))
    for lost in (top, results["//base"].outputs["out"], results["//base"].outputs["info"]):
        shop.file(lost).unlink()
    goals = (out("//top"), out("//base"))
    again, events = shop.build(diamond(shop), *goals)
    assert again == results
    assert events.warnings == [f"blob `{damaged.digest}` is damaged in the store; it is made again"]
    assert ("mem:wheel" in events.labels("fetched")) == (victim == "source")
    assert ("//right" in events.labels("ran")) == (victim == "output")
    assert blob(shop.file(damaged).read_bytes()) == damaged


def test_one_damaged_blob_under_many_actions(shop: Workshop) -> None:
    source = shop.source("wheel", b"wheel")
    actions = [action(f"//{n}", {"in": source}) for n in range(8)]
    shop.build(actions[:1], out("//0"))
    flip(shop.file(source.blob))
    _, events = shop.build(actions, *(out(a.label) for a in actions), jobs=8)
    assert len(events.warnings) == 1
    assert events.labels("fetched") == ["mem:wheel"]


def test_a_disk_that_keeps_damaging_ends_the_build(shop: Workshop) -> None:
    source = shop.source("wheel", b"wheel")

    def damaging(work: Work) -> None:
        flip(shop.file(source.blob))
        with Store.open(shop.root) as unsuspecting:
            unsuspecting.verified(source.blob)

    shop.tool("damaging", damaging)
    with pytest.raises(StoreError) as caught:
        shop.build([action("//x", {"in": source}, tool="damaging")], out("//x"))
    assert str(caught.value) == f"blob `{source.blob.digest}` is damaged in the store"
    assert caught.value.problems[0].hint


def test_other_bytes_from_the_same_inputs_are_reported(shop: Workshop) -> None:
    made = iter("12")

    def moody(work: Work) -> None:
        work.outputs["out"].write_text(next(made))

    shop.tool("moody", moody)
    actions = [action("//moody", tool="moody"), action("//user", {"in": out("//moody")})]
    first, _ = shop.build(actions, out("//user"), out("//moody"))
    shop.file(first["//moody"].outputs["out"]).unlink()
    second, events = shop.build(actions, out("//user"), out("//moody"))
    assert events.warnings == ["`//moody` made other bytes than before from the same inputs"]
    assert content(shop, second["//user"]) == b'out "//user" 2'
    assert shop.build(actions, out("//user"), out("//moody"))[0] == second


def test_a_file_is_used_where_it_is(shop: Workshop, tmp_path: Path) -> None:
    path = tmp_path / "flow.py"
    path.write_bytes(b"flow")
    given = Source(blob(b"flow"), f"file:{path}")
    paths = []

    def look(work: Work) -> None:
        paths.append(work.inputs["flow"].path())
        join(work)

    shop.tool("look", look)
    results, events = shop.build([action("//x", {"flow": given}, tool="look")], out("//x"))
    assert paths == [path]
    assert content(shop, results["//x"]) == b'out "//x" flow'
    assert events.labels("fetched") == []
    assert not shop.file(given.blob).exists()


@pytest.mark.parametrize("use", ["read", "path", "later", "gone"])
def test_a_file_that_changes_during_the_build(shop: Workshop, tmp_path: Path, use: str) -> None:
    path = tmp_path / "flow.py"
    path.write_bytes(b"flow")
    given = Source(blob(b"flow"), f"file:{path}")

    def tool(work: Work) -> None:
        if use == "later":
            work.inputs["flow"].path()
        path.write_bytes(b"wolf!")
        if use == "gone":
            path.unlink()
        if use in ("path", "gone"):
            work.inputs["flow"].path()
        if use == "read":
            work.inputs["flow"].read()
        work.outputs["out"].touch()

    shop.tool("tool", tool)
    with pytest.raises(ActionError) as caught:
        shop.build([action("//x", {"flow": given}, tool="tool")], out("//x"))
    expected = {
        "gone": f"making `//x`: cannot read `{path}`: no such file or directory",
    }.get(use, f"making `//x`: `{path}` changed during the build")
    assert str(caught.value) == expected


def test_a_tool_that_gives_up_is_an_interruption(shop: Workshop) -> None:
    def giving_up(work: Work) -> None:
        raise Interrupted("interrupted")

    shop.tool("giving up", giving_up)
    with pytest.raises(Interrupted):
        shop.build([action("//x", tool="giving up")], out("//x"))


def test_the_kind_of_a_failure_is_kept(shop: Workshop) -> None:
    def gone(source: Source, destination: Path, tick: Callable[[int], None]) -> None:
        raise FetchError(f"`{source.locator}` is gone")

    shop.fetch = gone  # type: ignore[method-assign]
    source = Source(blob(b"x"), "mem:x")
    with pytest.raises(MfbuildError) as caught:
        shop.build([action("//x", {"in": source})], out("//x"))
    assert type(caught.value) is FetchError
    assert str(caught.value) == "`mem:x` is gone"
