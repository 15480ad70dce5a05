"""Locks of other tools in place of resolving."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import uv

from mfbuild.errors import ResolveError
from mfbuild.oci.types import Platform
from mfbuild.python.import_lock import Pin, imported_lock, parse_requirements
from mfbuild.python.model import Lock, Request
from mfbuild.python.urls import UrlCache
from tests.index import File, Index, sdist, serve, settings_for, wheel

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
X86, ARM = "cp311-cp311-manylinux_2_28_x86_64", "cp311-cp311-manylinux_2_28_aarch64"
TOP, DEP, OTHER = wheel("top", "1.0", ["dep"]), wheel("dep", "1.0"), wheel("other", "1.0")


def request(*requirements: str) -> Request:
    return Request("3.11", "2.36", (), requirements)


def brought(
    path: Path, index: Index, *requests: Request, platforms: Sequence[Platform] = (AMD64,)
) -> Lock:
    return imported_lock(
        path,
        {r: f"step {number}" for number, r in enumerate(requests, 1)},
        platforms,
        settings=settings_for(index, path.parent),
        cache=UrlCache(path.parent / "urls.json"),
    )


def files_of(lock: Lock, asked: Request, platform: Platform = AMD64) -> list[str]:
    return [w.filename for w in lock.environments[asked.digest()].wheels[platform]]


def requirements(folder: Path, *pins: str) -> Path:
    path = folder / "requirements.txt"
    path.write_text("\n".join(pins) + "\n")
    return path


def pin(*files: File, marker: str = "") -> str:
    name, version = files[0].name.removesuffix(".tar.gz").split("-")[:2]
    hashes = " \\\n    ".join(f"--hash=sha256:{f.sha256}" for f in files)
    return f"{name}=={version}{marker} \\\n    {hashes}"


def test_a_hashed_requirements_file_answers_each_step_with_what_it_needs(tmp_path: Path) -> None:
    path = requirements(tmp_path, "# by hand", "--index-url x", pin(TOP), pin(DEP), pin(OTHER))
    one, two = request("top"), request("other>=1")
    with serve(TOP, DEP, OTHER, wheel("top", "2.0"), wheel("dep", "2.0")) as index:
        lock = brought(path, index, one, two)
    assert files_of(lock, one) == [DEP.name, TOP.name]
    assert files_of(lock, two) == [OTHER.name]
    assert lock.environments[one.digest()].wheels[AMD64][0].size == len(DEP.data)


def test_only_files_that_the_lock_allows_are_taken(tmp_path: Path) -> None:
    plain, fast, slow = (
        wheel("dep", "1.0"),
        wheel("dep", "1.0", tag=X86),
        wheel("dep", "1.0", tag=ARM),
    )
    path = requirements(tmp_path, pin(plain, slow))
    asked = request("dep")
    with serve(plain, fast, slow) as index:
        lock = brought(path, index, asked, platforms=(AMD64, ARM64))
    assert files_of(lock, asked) == [plain.name]
    assert files_of(lock, asked, ARM64) == [slow.name]


def test_everything_that_a_lock_lacks_is_told_at_once(tmp_path: Path) -> None:
    fast = wheel("other", "1.0", tag=X86)
    path = requirements(tmp_path, pin(TOP), pin(fast))
    with serve(TOP, DEP, OTHER, fast) as index, pytest.raises(ResolveError) as caught:
        asked = (request("top"), request("other"), request("top>1"))
        brought(path, index, *asked, platforms=(AMD64, ARM64))
    told = [(p.where, p.message) for p in caught.value.problems]
    assert told[0] == ("step 1", "`dep` is needed, and `requirements.txt` does not hold it")
    assert told[1] == (
        "step 2 (linux/arm64)",
        "`requirements.txt` allows no file of `other` 1.0 for linux/arm64",
    )
    assert told[2][0] == "step 3" and "top==1.0" in told[2][1]


def test_an_sdist_that_the_lock_allows_is_built(tmp_path: Path) -> None:
    old = sdist("old", "1.0")
    path = requirements(tmp_path, pin(old))
    asked = request("old")
    with serve(old) as index:
        lock = brought(path, index, asked)
    assert files_of(lock, asked) == ["old-1.0-py3-none-any.whl"]
    assert lock.environments[asked.digest()].wheels[AMD64][0].sdist_sha256 == old.sha256


def test_lines_that_are_no_hashed_pins_are_told_with_their_lines() -> None:
    text = "one==1.0\ntwo>=1 --hash=sha256:00\n\nthree @ https://me:p@x.example/y --hash=sha256:0\n"
    text += "four==1.* --hash=sha256:00\nfive==1 --hash=sha512:00\n"
    with pytest.raises(ResolveError) as caught:
        parse_requirements(text, request(), AMD64, "r.txt")
    assert [p.where for p in caught.value.problems] == [f"r.txt:{n}" for n in (1, 2, 4, 5, 6)]
    assert "me:p" not in repr(caught.value.problems)


def test_requirements_are_read_with_comments_markers_and_continuations() -> None:
    digest = "a" * 64
    text = (
        f"One.Two==1.0 \\\n  --hash=sha256:{digest} \\\n  --hash=sha256:{'b' * 64}  # why\n"
        f'arm==1 ; platform_machine == "aarch64" --hash=sha256:{digest}\n'
        f'old==1 ; python_version < "3" --hash=sha256:{digest}\n'
        f"local==1.0+cpu --hash=sha256:{digest}\n"
    )
    found = parse_requirements(text, request(), AMD64, "r.txt")
    assert found == {
        "one-two": Pin("1.0", frozenset({digest, "b" * 64})),
        "local": Pin("1.0+cpu", frozenset({digest})),
    }
    assert set(parse_requirements(text, request(), ARM64, "r.txt")) == {"arm", "local", "one-two"}


def test_a_pylock_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    asked = request("top")
    with serve(TOP, DEP, OTHER) as index:
        settings = settings_for(index, tmp_path)
        command = [uv.find_uv_bin(), "pip", "compile", "-", "-o", str(path), "-q"]
        subprocess.run(
            [*command, "--universal", "--python", sys.executable],
            input=b"top\nother\n",
            env=dict(settings.environ),
            check=True,
        )
        index.files += [wheel("top", "2.0"), wheel("dep", "2.0")]
        assert files_of(brought(path, index, asked), asked) == [DEP.name, TOP.name]


def pex_lock(index: Index, *files: File) -> str:
    """What `pex3 lock create --style universal` writes."""
    locked = [
        {
            "artifacts": [
                {
                    "algorithm": "sha256",
                    "hash": file.sha256,
                    "url": f"{index.url}/files/{file.name}",
                }
            ],
            "project_name": file.project,
            "requires_dists": ["dep"] if file is TOP else [],
            "requires_python": None,
            "version": "1.0",
        }
        for file in files
    ]
    resolves = [{"locked_requirements": locked, "marker": None, "platform_tag": None}]
    unset = ["constraints", "excluded", "only_builds", "only_wheels", "overridden"]
    unset += ["requires_python", "target_systems"]
    lock = {
        "allow_builds": True,
        "allow_prereleases": False,
        "allow_wheels": True,
        "build_isolation": True,
        "elide_unused_requires_dist": False,
        "locked_resolves": resolves,
        "path_mappings": {},
        "pex_version": "2.105.2",
        "pip_version": "20.3.4-patched",
        "prefer_older_binary": False,
        "requirements": [f.project for f in files if f is not DEP],
        "resolver_version": "pip-legacy-resolver",
        "style": "universal",
        "transitive": True,
        "use_pep517": None,
        "use_system_time": False,
    }
    return json.dumps({**lock, **{name: [] for name in unset}})


def test_a_pex_lock_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "pex.lock"
    asked = request("top")
    with serve(TOP, DEP, OTHER, wheel("top", "2.0"), wheel("dep", "2.0")) as index:
        path.write_text(pex_lock(index, TOP, DEP, OTHER))
        lock = brought(path, index, asked, platforms=(AMD64, ARM64))
    assert files_of(lock, asked) == files_of(lock, asked, ARM64) == [DEP.name, TOP.name]


def test_a_folder_pex_beside_the_flow_is_not_pex(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pex").mkdir()
    for name in ("__init__.py", "cli.py"):
        (tmp_path / "pex" / name).write_text("raise SystemExit('a file of the workspace was run')")
    monkeypatch.chdir(tmp_path)
    with serve(TOP, DEP) as index:
        Path("pex.lock").write_text(pex_lock(index, TOP, DEP))
        lock = brought(Path("pex.lock"), index, request("top"))
    assert files_of(lock, request("top")) == [DEP.name, TOP.name]


def test_a_pex_lock_that_pex_cannot_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pex.lock"
    path.write_text(json.dumps({"pex_version": "0.1"}))
    with serve() as index, pytest.raises(ResolveError, match="pex cannot read this lock") as caught:
        brought(path, index, request("top"))
    assert caught.value.problems[0].where == str(path)


def test_a_lock_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serve() as index, pytest.raises(ResolveError, match="this lock cannot be read"):
        brought(tmp_path / "requirements.txt", index, request("top"))


def test_pex_is_installed_where_these_tests_run() -> None:
    assert importlib.util.find_spec("pex") is not None
