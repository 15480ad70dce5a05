"""Resolving with uv, against a local index."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mfbuild.errors import ResolveError
from mfbuild.oci.types import Platform
from mfbuild.python.index import read_settings
from mfbuild.python.lockfile import parse, render
from mfbuild.python.model import Lock, LockedWheel, Request
from mfbuild.python.pylock import Artifact
from mfbuild.python.resolve import Upgrade, complete, resolve
from mfbuild.python.urls import UrlCache
from tests.index import File, Index, sdist, serve, settings_for, wheel

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
BOTH = (AMD64, ARM64)
X86 = "cp311-cp311-manylinux_2_28_x86_64"
ARM = "cp311-cp311-manylinux_2_28_aarch64"


def request(*requirements: str, base: Sequence[str] = (), without: Sequence[str] = ()) -> Request:
    return Request("3.11", "2.36", tuple(base), tuple(requirements), tuple(without))


def lock(
    index: Index,
    home: Path,
    *requests: Request,
    platforms: Sequence[Platform] = (AMD64,),
    previous: Lock | None = None,
    upgrade: Upgrade | None = None,
    **environ: str,
) -> Lock:
    return resolve(
        {r: f"step {number}" for number, r in enumerate(requests, 1)},
        platforms,
        settings=settings_for(index, home, **environ),
        cache=UrlCache(home / "urls.json"),
        previous=previous,
        upgrade=upgrade,
    )


def names(found: Lock, asked: Request, platform: Platform = AMD64) -> list[str]:
    return [w.filename for w in found.environments[asked.digest()].wheels[platform]]


def test_each_platform_gets_its_own_best_wheels(tmp_path: Path) -> None:
    files = [
        wheel("top", "1.0", ["fast"]),
        wheel("fast", "2.0"),
        wheel("fast", "2.0", tag=X86),
        wheel("fast", "2.0", tag="cp311-cp311-manylinux_2_38_x86_64"),
        wheel("fast", "2.0", tag=ARM),
        wheel("fast", "2.0", tag="cp311-cp311-win_amd64"),
    ]
    asked = request("top")
    with serve(*files) as index:
        found = lock(index, tmp_path, asked, platforms=BOTH)
    assert names(found, asked) == [f"fast-2.0-{X86}.whl", "top-1.0-py3-none-any.whl"]
    assert names(found, asked, ARM64) == [f"fast-2.0-{ARM}.whl", "top-1.0-py3-none-any.whl"]
    expected = LockedWheel(files[2].name, "fast", "2.0", len(files[2].data), files[2].sha256)
    assert found.environments[asked.digest()].wheels[AMD64][0] == expected
    assert parse(render(found), "BUILD.lock") == found
    assert index.url not in render(found)


def test_a_wheel_with_a_higher_build_number_is_better(tmp_path: Path) -> None:
    asked = request("made")
    files = [wheel("made", "1.0", tag=tag) for tag in ("1-" + X86, "10-" + X86, "9-" + X86, X86)]
    with serve(*files) as index:
        assert names(lock(index, tmp_path, asked), asked) == [f"made-1.0-10-{X86}.whl"]


@pytest.mark.parametrize("page", [{"html": True}, {"bare": True}])
def test_an_index_may_tell_neither_sizes_nor_hashes(tmp_path: Path, page: dict[str, bool]) -> None:
    file = wheel("plain", "1.0")
    asked = request("plain")
    with serve(file, **page) as index:
        found = lock(index, tmp_path, asked)
    locked = found.environments[asked.digest()].wheels[AMD64][0]
    assert (locked.size, locked.sha256) == (len(file.data), file.sha256)


def test_a_wheel_of_a_find_links_folder_is_locked(tmp_path: Path) -> None:
    links = tmp_path / "with space"
    file = wheel("local", "1.0")
    file.save(links)
    asked = request("local")
    with serve() as index:
        found = lock(index, tmp_path, asked, UV_FIND_LINKS=str(links))
    assert found.environments[asked.digest()].wheels[AMD64][0].size == len(file.data)


def test_pins_stay_and_upgrade_moves_them(tmp_path: Path) -> None:
    old = [wheel("one", "1.0", ["two"]), wheel("two", "1.0")]
    new = [wheel("one", "2.0", ["two"]), wheel("two", "2.0")]
    asked, wider = request("one"), request("one", "two")
    with serve(*old) as index:
        first = lock(index, tmp_path, asked)
        index.files += new
        index.asked.clear()
        assert lock(index, tmp_path, asked, previous=first) == first
        assert index.asked == []
        added = lock(index, tmp_path, asked, wider, previous=first)
        assert names(added, wider) == ["one-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl"]
        only = Upgrade(packages=frozenset({"Two"}))
        moved = lock(index, tmp_path, asked, previous=first, upgrade=only)
        assert names(moved, asked) == ["one-1.0-py3-none-any.whl", "two-2.0-py3-none-any.whl"]
        everything = Upgrade(everything=True)
        moved = lock(index, tmp_path, asked, previous=first, upgrade=everything)
    assert names(moved, asked) == ["one-2.0-py3-none-any.whl", "two-2.0-py3-none-any.whl"]


def test_a_platform_that_is_added_gets_the_versions_of_the_others(tmp_path: Path) -> None:
    asked = request("one")
    with serve(wheel("one", "1.0")) as index:
        first = lock(index, tmp_path, asked)
        index.files.append(wheel("one", "2.0"))
        both = lock(index, tmp_path, asked, platforms=BOTH, previous=first)
        assert names(both, asked, ARM64) == ["one-1.0-py3-none-any.whl"]
        assert lock(index, tmp_path, asked, previous=both) == lock(
            index, tmp_path, asked, previous=first
        )


def test_environments_share_the_versions_of_their_base(tmp_path: Path) -> None:
    files = [wheel("flow", "1.0", ["dep"]), wheel("dep", "1.0"), wheel("dep", "2.0")]
    files += [wheel("picky", "1.0", ["dep<2"]), wheel("open", "1.0", ["dep"])]
    plain = request(base=["flow==1.0"])
    free, picky = request("open", base=["flow==1.0"]), request("picky", base=["flow==1.0"])
    with serve(*files) as index:
        found = lock(index, tmp_path, plain, free, picky)
    assert "dep-2.0-py3-none-any.whl" in names(found, plain)
    assert "dep-2.0-py3-none-any.whl" in names(found, free)
    assert "dep-1.0-py3-none-any.whl" in names(found, picky)


def test_packages_that_come_from_source_are_left_out_with_what_they_need(tmp_path: Path) -> None:
    files = [wheel("plugin", "1.0", ["flow", "dep"]), wheel("dep", "1.0")]
    asked = request("plugin", base=["flow==9.dev0"], without=["flow"])
    with serve(*files) as index:
        found = lock(index, tmp_path, asked)
    assert names(found, asked) == ["dep-1.0-py3-none-any.whl", "plugin-1.0-py3-none-any.whl"]


def test_every_environment_that_cannot_be_solved_is_named_with_the_reason(tmp_path: Path) -> None:
    files = [wheel("one", "1.0"), wheel("intel", "1.0", tag=X86)]
    with serve(*files) as index, pytest.raises(ResolveError) as caught:
        asked = [request("one"), request("absent"), request("one>1", "one<1"), request("intel")]
        lock(index, tmp_path, *asked, platforms=BOTH)
    told = {p.where: p.message for p in caught.value.problems}
    assert list(told) == ["step 2", "step 3", "step 4 (linux/arm64)"]
    assert told["step 2"] == (
        "packages cannot be resolved for Python 3.11: because absent was not found in the package "
        "registry and "
        "you require absent, we can conclude that your requirements are unsatisfiable"
    )
    assert "you require one>1 and one<1" in told["step 3"].replace(
        "one<1 and one>1", "one>1 and one<1"
    )
    assert "intel" in told["step 4 (linux/arm64)"]
    assert "\x1b" not in "".join(told.values())


def test_a_base_that_cannot_be_solved_is_told_of_all_its_steps(tmp_path: Path) -> None:
    with serve(wheel("one", "1.0")) as index, pytest.raises(ResolveError) as caught:
        lock(index, tmp_path, request("one", base=["gone==1"]), request("x", base=["gone==1"]))
    assert [p.where for p in caught.value.problems] == ["step 1, step 2"]


@pytest.mark.parametrize(
    "text", ["one==", "--index-url http://x", "-r /etc/passwd", "../one", "one\n--index-url x", ""]
)
def test_a_requirement_that_is_none_is_shown(tmp_path: Path, text: str) -> None:
    with serve() as index, pytest.raises(ResolveError) as caught:
        lock(index, tmp_path, request(text, "two=="))
    assert caught.value.problems[0].message.startswith(f"`{text}` is not a requirement: ")
    assert [p.where for p in caught.value.problems] == ["step 1", "step 1"]


def test_a_requirement_that_is_an_address_is_refused(tmp_path: Path) -> None:
    file = wheel("one", "1.0")
    with serve(file) as index, pytest.raises(ResolveError) as caught:
        lock(index, tmp_path, request(f"one @ {index.url}/files/{file.name}"))
    assert caught.value.problems[0].message.endswith(
        "is not from an index: not supported, only packages of an index can be locked"
    )


def test_a_package_that_needs_an_address_is_refused(tmp_path: Path) -> None:
    with serve(wheel("one", "1.0")) as index, pytest.raises(ResolveError, match="one"):
        index.files.append(
            wheel("two", "1.0", [f"one @ {index.url}/files/one-1.0-py3-none-any.whl"])
        )
        lock(index, tmp_path, request("two"))


def test_a_pure_sdist_is_built_once_and_locked_by_both_hashes(tmp_path: Path) -> None:
    source = sdist("old", "1.0", requires=["dep"])
    asked, more = request("old"), request("dep", "old")
    with serve(source, wheel("dep", "1.0")) as index:
        found = lock(index, tmp_path, asked, more, platforms=BOTH)
        (tmp_path / "elsewhere").mkdir()
        again = lock(index, tmp_path / "elsewhere", asked, more, platforms=BOTH)
    built = found.environments[asked.digest()].wheels[ARM64][1]
    assert (built.filename, built.sdist) == ("old-1.0-py3-none-any.whl", "old-1.0.tar.gz")
    assert built.sdist_sha256 == source.sha256
    assert names(found, asked) == ["dep-1.0-py3-none-any.whl", "old-1.0-py3-none-any.whl"]
    assert found == again


def test_an_sdist_of_compiled_code_is_refused(tmp_path: Path) -> None:
    with serve(sdist("native", "1.0", tag=X86)) as index, pytest.raises(ResolveError) as caught:
        lock(index, tmp_path, request("native"))
    problem = caught.value.problems[0]
    assert problem.message == (
        f"`native-1.0.tar.gz` builds `native-1.0-{X86}.whl`: not supported, a package without a "
        "wheel for the platform must be pure Python"
    )
    assert problem.where == "step 1"


def test_a_package_with_wheels_for_other_platforms_only_is_refused(tmp_path: Path) -> None:
    with (
        serve(wheel("apple", "1.0", tag="cp311-cp311-macosx_11_0_arm64")) as index,
        pytest.raises(ResolveError, match="apple") as caught,
    ):
        lock(index, tmp_path, request("apple"))
    assert "no-binary" not in str(caught.value)


def test_a_package_for_one_platform_names_the_way_to_leave_the_others_out(tmp_path: Path) -> None:
    with (
        serve(wheel("fast", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")) as index,
        pytest.raises(ResolveError, match="fast") as caught,
    ):
        lock(index, tmp_path, request("fast"), platforms=BOTH)
    (problem,) = caught.value.problems
    assert problem.where == "step 1 (linux/arm64)"
    assert "to leave `linux/arm64` out" in (problem.hint or "")
    assert "`--platform linux/amd64`, or `platforms` in BUILD.toml" in (problem.hint or "")


def test_a_file_that_the_index_replaced_is_noticed(tmp_path: Path) -> None:
    asked, more = request("one"), request("one", "two")
    two = wheel("two", "1.0")
    with serve(wheel("one", "1.0"), two) as index:
        first = lock(index, tmp_path, asked)
    changed: list[File] = [wheel("one", "1.0", body="print('other')"), two]
    with serve(*changed) as index:
        with pytest.raises(ResolveError, match="is not the file that is locked") as caught:
            lock(index, tmp_path, more, previous=first)
        hint = "if that is right, `mfbuild lock --upgrade one` takes it"
        assert caught.value.problems[0].hint == hint
        accepted = Upgrade(packages=frozenset({"one"}))
        moved = lock(index, tmp_path, more, previous=first, upgrade=accepted)
    assert moved.environments[more.digest()].wheels[AMD64][0].sha256 == changed[0].sha256


@pytest.mark.parametrize("page", [{"html": True}, {}])
def test_an_index_that_tells_one_hash_of_all_files_is_refused(
    tmp_path: Path, page: dict[str, bool]
) -> None:
    """The resolver takes files of one hash for one, and loses what the others need."""
    asked = request("top")
    files = [wheel("top", "1.0", ["low"]), wheel("low", "1.0", ["lower"]), wheel("lower", "1.0")]
    with serve(*files, hashes={"": "0" * 64}, **page) as index:
        with pytest.raises(ResolveError) as raised:
            lock(index, tmp_path, asked)
        assert not [path for path, _ in index.asked if path == f"/files/{files[0].name}"]
    (problem,) = raised.value.problems
    assert f"`{files[1].name}`" in problem.message and "0" * 64 in problem.message
    assert problem.hint == "the package index is wrong about its files: use another one"


def complete_alone(
    home: Path, *artifacts: Artifact, built: Mapping[str, LockedWheel] | None = None
) -> Lock:
    """Lock each artifact for a request of its own, without an index."""
    requests = {request(f"pure>={n}"): f"step {n}" for n in range(len(artifacts))}
    return complete(
        {(r, AMD64): [a] for r, a in zip(requests, artifacts, strict=True)},
        requests,
        settings=settings_for(None, home),
        cache=UrlCache(home / "urls.json"),
        built=built or {},
    )


def test_an_sdist_with_the_hash_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    made = LockedWheel(
        "one-1.0-py3-none-any.whl", "one", "1.0", 9, "a" * 64, "one-1.0.tar.gz", "b" * 64
    )
    other = Artifact("other", "1.0", "other-1.0.tar.gz", None, 9, "b" * 64)
    with pytest.raises(ResolveError, match=r"`one-1.0.tar.gz`, `other-1.0.tar.gz` have the same"):
        complete_alone(tmp_path, other, built={"b" * 64: made})
    again = replace(other, name="one", filename="one-1.0.tar.gz")
    (environment,) = complete_alone(tmp_path, again, built={"b" * 64: made}).environments.values()
    assert environment.wheels == {AMD64: (made,)}


def test_pages_that_disagree_about_a_file_are_refused(tmp_path: Path) -> None:
    """One index after the other is asked, and has another file of the same name."""
    one, other = wheel("pure", "1.0"), wheel("pure", "1.0", body="OTHER = 1\n")
    artifacts = [
        Artifact("pure", "1.0", file.name, None, len(file.data), file.sha256)
        for file in (one, other)
    ]
    with pytest.raises(ResolveError) as raised:
        complete_alone(tmp_path, *artifacts)
    (problem,) = raised.value.problems
    assert problem.message == f"`{one.name}` has two different sha256"
    assert problem.hint == "two package indexes, or two pages of one, disagree about it"


def test_only_a_package_that_is_there_can_be_upgraded(tmp_path: Path) -> None:
    with (
        serve(wheel("one", "1.0")) as index,
        pytest.raises(ResolveError, match="no environment has the package `tow`"),
    ):
        lock(index, tmp_path, request("one"), upgrade=Upgrade(packages=frozenset({"tow"})))


def test_credentials_are_used_and_appear_nowhere(tmp_path: Path) -> None:
    asked = request("secret")
    with serve(wheel("secret", "1.0"), auth=("me", "pa:ss")) as index:
        url = index.simple.replace("://", "://me:pa%3Ass@")
        found = lock(index, tmp_path, asked, UV_DEFAULT_INDEX=url)
        with pytest.raises(ResolveError) as caught:
            lock(index, tmp_path, request("absent"), UV_DEFAULT_INDEX=url)
    kept = render(found) + (tmp_path / "urls.json").read_text() + repr(caught.value.problems)
    assert names(found, asked) == ["secret-1.0-py3-none-any.whl"]
    assert "pa:ss" not in kept and "pa%3Ass" not in kept


def test_the_configuration_of_the_workspace_is_honoured(tmp_path: Path) -> None:
    asked = request("one")
    other = request("two")
    with serve(wheel("one", "1.0"), wheel("two", "1.0"), wheel("two", "2.0")) as index:
        (tmp_path / "uv.toml").write_text(
            f'index-url = "{index.simple}"\nconstraint-dependencies = ["two<2"]\n'
            "[pip]\nuniversal = true\ngenerate-hashes = true\n"
        )
        told = {"UV_DEFAULT_INDEX": "", "UV_NO_CONFIG": "false", "XDG_CONFIG_DIRS": str(tmp_path)}
        settings = settings_for(index, tmp_path, **told)
        cache = UrlCache(tmp_path / "urls.json")
        found = resolve({asked: "1", other: "2"}, BOTH, settings=settings, cache=cache)
    assert names(found, asked, ARM64) == ["one-1.0-py3-none-any.whl"]
    assert names(found, other) == ["two-1.0-py3-none-any.whl"]


def test_a_second_index_is_asked_as_uv_and_pip_are_configured(tmp_path: Path) -> None:
    asked = request("ours", "public")
    with (
        serve(wheel("public", "1.0")) as index,
        serve(wheel("ours", "1.0"), auth=("a", "b")) as own,
    ):
        url = own.simple.replace("://", "://a:b@")
        found = lock(index, tmp_path, asked, PIP_EXTRA_INDEX_URL=url)
    assert names(found, asked) == ["ours-1.0-py3-none-any.whl", "public-1.0-py3-none-any.whl"]


def test_the_configured_index_resolves_metaflow_and_pandas_for_both_platforms(
    tmp_path: Path,
) -> None:
    """The real index of this machine, whatever it is."""
    asked = request("pandas", base=["metaflow"])
    settings = read_settings(tmp_path, os.environ)
    cache = UrlCache(tmp_path / "urls.json")
    found = resolve({asked: "train"}, BOTH, settings=settings, cache=cache)
    for platform, machine in ((AMD64, "x86_64"), (ARM64, "aarch64")):
        wheels = {w.name: w for w in found.environments[asked.digest()].wheels[platform]}
        assert {"metaflow", "boto3", "requests", "pandas", "numpy"} <= set(wheels)
        assert machine in wheels["numpy"].filename
        assert all(w.size > 0 and cache.get(w.sha256) for w in wheels.values())
