"""BUILD.lock: what is written is read again, and nothing else is taken for a lock."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.engine.model import Digest, canonical
from mfbuild.errors import ResolveError
from mfbuild.oci.types import Platform
from mfbuild.python.lockfile import check_wheel, parse, read_lock, render, write_lock
from mfbuild.python.model import Lock, LockedEnvironment, LockedWheel, Request

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
REQUEST = Request("3.11", "2.36", ("metaflow==2.19.5",), ("pandas>=2",), ("extension",))
WHEELS = (
    LockedWheel("metaflow-2.19.5-py3-none-any.whl", "metaflow", "2.19.5", 7, "a" * 64),
    LockedWheel("pandas-2.2.3-cp311-cp311-linux_x86_64.whl", "pandas", "2.2.3", 9, "b" * 64),
    LockedWheel("old-1.0-py3-none-any.whl", "old", "1.0", 5, "c" * 64, "old-1.0.tar.gz", "d" * 64),
)

HINT = "restore it, or remove it: `mfbuild lock` then makes a new one"


def lock_of(*environments: LockedEnvironment) -> Lock:
    return Lock({environment.request.digest(): environment for environment in environments})


LOCK = lock_of(LockedEnvironment(REQUEST, {AMD64: WHEELS, ARM64: WHEELS[::2]}))

words = st.text(st.characters(codec="utf-8"), max_size=20)
requests = st.builds(
    Request,
    python=words,
    glibc=words,
    base=st.lists(words, max_size=3).map(tuple),
    requirements=st.lists(words, max_size=3).map(tuple),
    without=st.lists(words, max_size=2).map(tuple),
)
names = st.from_regex(r"[a-z0-9]{1,6}(-[a-z0-9]{1,4})?", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}(\+[a-z0-9]{1,4})?", fullmatch=True)


@st.composite
def wheels(draw: st.DrawFn) -> LockedWheel:
    name, version = draw(names), draw(versions)
    sdist = f"{name}-{version}.tar.gz" if draw(st.booleans()) else None
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return LockedWheel(
        filename=filename,
        name=name,
        version=version,
        size=draw(st.integers(0, 2**40)),
        sha256=Digest.of(filename.encode()).hex,  # no two files have the same
        sdist=sdist,
        sdist_sha256=Digest.of(sdist.encode()).hex if sdist else None,
    )


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    table = draw(st.lists(wheels(), unique_by=lambda w: w.filename, max_size=5))
    environments = []
    for request in draw(st.lists(requests, max_size=3)):
        chosen = {
            platform: tuple(sorted(draw(st.sets(st.sampled_from(table)) if table else st.just(()))))
            for platform in draw(st.sets(st.sampled_from([AMD64, ARM64])))
        }
        environments.append(LockedEnvironment(request, chosen))
    return lock_of(*environments)


@given(locks())
def test_a_lock_is_read_as_it_was_written(lock: Lock) -> None:
    assert parse(render(lock), "BUILD.lock") == lock


def test_the_text_of_a_lock_is_fixed() -> None:
    assert Digest.of(render(LOCK).encode()).hex == (
        "ac2797cd522b2e7d13c8f55e62b50e0b6a66502a4c8fc7dcdf2036bba9158453"
    )


def test_a_lock_names_each_wheel_on_one_line_and_no_host() -> None:
    text = render(LOCK)
    assert sum('"sha256": "' in line for line in text.splitlines()) == len(WHEELS)
    assert "://" not in text and text.endswith("}\n")


def test_the_order_of_environments_does_not_matter() -> None:
    other = LockedEnvironment(Request("3.12", "2.36", (), ("six",)), {AMD64: WHEELS[:1]})
    first = LOCK.environments[REQUEST.digest()]
    assert render(lock_of(first, other)) == render(lock_of(other, first))


def test_a_missing_lock_is_an_empty_one(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "BUILD.lock") == Lock({})


def test_a_lock_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "BUILD.lock"
    write_lock(path, Lock({}))
    write_lock(path, LOCK)
    assert read_lock(path) == LOCK
    assert [p.name for p in tmp_path.iterdir()] == ["BUILD.lock"]


def test_a_lock_is_as_readable_as_other_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_lock(tmp_path / "BUILD.lock", LOCK)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_lock_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "BUILD.lock"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(ResolveError, match="the lock cannot be written"):
        write_lock(path, LOCK)
    assert [p.name for p in tmp_path.iterdir()] == ["BUILD.lock"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"size": 7', '"size": 8'),
        lambda text: text.replace("a" * 64, "e" * 64),
        lambda text: text.replace('"pandas>=2"', '"pandas>=1"'),
        lambda text: text.replace('"checksum"', '"checked"'),
    ],
)
def test_a_lock_changed_by_hand_is_noticed(damage: object) -> None:
    changed = damage(render(LOCK))  # type: ignore[operator]
    with pytest.raises(ResolveError) as caught:
        parse(changed, "BUILD.lock")
    problem = caught.value.problems[0]
    assert problem.message == (
        "the lock was changed by hand or by a merge: its checksum does not match"
    )
    assert (problem.where, problem.hint) == ("BUILD.lock", HINT)


def test_a_merge_conflict_is_shown_where_it_is() -> None:
    lines = render(LOCK).splitlines()
    lines.insert(4, "<<<<<<< HEAD")
    with pytest.raises(ResolveError, match="the lock is not JSON") as caught:
        parse("\n".join(lines), "BUILD.lock")
    assert caught.value.problems[0].where == "BUILD.lock:5"


def test_a_lock_of_another_format_is_refused() -> None:
    with pytest.raises(ResolveError, match="the lock has the format `2`, this mfbuild reads `1`"):
        parse(render(LOCK).replace('"version": 1', '"version": 2'), "BUILD.lock")


@pytest.mark.parametrize("text", ["[]", "{}", "null", "3", '{"environments": []}'])
def test_other_json_is_not_a_lock(text: str) -> None:
    with pytest.raises(ResolveError, match="this is not a lock"):
        parse(text, "BUILD.lock")


def signed(content: dict[str, object]) -> str:
    return json.dumps({**content, "checksum": str(Digest.of(canonical(content).encode()))})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("filename", "../six-1.0-py3-none-any.whl"),
        ("filename", "a/six-1.0-py3-none-any.whl"),
        ("filename", "six-1.0-py3-none-any.zip"),
        ("filename", "six.whl"),
        ("filename", None),
        ("name", "Six"),
        ("version", 1),
        ("size", -1),
        ("size", True),
        ("size", "9"),
        ("sha256", "A" * 64),
        ("sha256", "a" * 63),
        ("sdist", "../six-1.0.tar.gz"),
        ("sdist", "six-1.0.tar.gz"),
        ("surprise", 1),
    ],
)
def test_a_damaged_entry_is_named(field: str, value: object) -> None:
    content = json.loads(render(LOCK))
    del content["checksum"]
    content["wheels"][0][field] = value
    with pytest.raises(ResolveError, match=r"the lock is damaged: "):
        parse(signed(content), "BUILD.lock")


@pytest.mark.parametrize("field", ["python", "base", "wheels", "request"])
def test_a_damaged_environment_is_named(field: str) -> None:
    content = json.loads(render(LOCK))
    del content["checksum"]
    content["environments"][0][field] = 1
    with pytest.raises(ResolveError, match=r"the lock is damaged: "):
        parse(signed(content), "BUILD.lock")


def test_two_files_of_one_name_are_not_locked_together() -> None:
    other = LockedWheel(WHEELS[0].filename, "metaflow", "2.19.5", 7, "f" * 64)
    request = Request("3.12", "2.36", (), ())
    both = lock_of(
        LockedEnvironment(REQUEST, {AMD64: WHEELS}), LockedEnvironment(request, {AMD64: (other,)})
    )
    with pytest.raises(ResolveError, match=r"is locked with two different contents"):
        render(both)


@pytest.mark.parametrize("sdist", [False, True])
def test_files_that_share_a_hash_are_not_locked(tmp_path: Path, sdist: bool) -> None:
    path = tmp_path / "BUILD.lock"
    write_lock(path, LOCK)
    before = path.read_bytes()
    other = LockedWheel("other-1.0-py3-none-any.whl", "other", "1.0", 7, "e" * 64)
    if sdist:
        other = replace(other, sdist="other-1.0.tar.gz", sdist_sha256=WHEELS[2].sdist_sha256)
    else:
        other = replace(other, sha256=WHEELS[0].sha256)
    request = Request("3.12", "2.36", (), ())
    both = lock_of(
        LockedEnvironment(REQUEST, {AMD64: WHEELS}), LockedEnvironment(request, {AMD64: (other,)})
    )
    with pytest.raises(ResolveError, match=r"`\S+`, `other-1.0\S+` have the same sha256"):
        write_lock(path, both)
    assert path.read_bytes() == before


@given(st.one_of(st.text(max_size=60), st.from_regex(r"[a-z./\\-]{0,30}-1-py3-none-any\.whl")))
def test_the_name_of_a_wheel_is_never_a_path(text: str) -> None:
    try:
        check_wheel(LockedWheel(text, "one", "1.0", 1, "a" * 64))
    except ValueError:
        return
    assert "/" not in text and "\\" not in text and not text.startswith(".")
    assert text.endswith(".whl") and text.count("-") in (4, 5)


@given(wheels())
def test_wheels_that_can_be_locked_pass(wheel: LockedWheel) -> None:
    assert check_wheel(wheel) is wheel


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version":' + "9" * 6000 + "}", "[]", "null"])
def test_what_is_no_lock(text: str) -> None:
    with pytest.raises(ResolveError, match="this is not a lock") as caught:
        parse(text, "BUILD.lock")
    assert caught.value.problems[0].hint == HINT
