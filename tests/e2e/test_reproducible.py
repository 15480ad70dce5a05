"""The same bundle from every circumstance that must not matter; every action runs each time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.e2e.conftest import Runner, run_tool, write_flow

ROOT = Path(__file__).parents[2]
PLATFORM = ("--platform", "linux/amd64")


@pytest.fixture(scope="module")
def first(mfbuild: Runner, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A packaged flow's folder, and its version."""
    folder = tmp_path_factory.mktemp("first")
    write_flow(folder)
    return folder, mfbuild.version("flow.py", *PLATFORM, cwd=folder)


def again(mfbuild: Runner, first: tuple[Path, str], where: Path, *words: str, **env: str) -> str:
    """The version that the same flow and lock have at `where`."""
    shutil.copytree(first[0], where, ignore=shutil.ignore_patterns(".mfbuild"))
    return anew(mfbuild, where, *words, **env)


def anew(mfbuild: Runner, where: Path, *words: str, **env: str) -> str:
    """The version of the flow at `where`, with every action run anew."""
    return mfbuild.version("flow.py", "--locked", "--no-cache", *PLATFORM, *words, cwd=where, **env)


@pytest.mark.parametrize(
    "env",
    [
        {
            **{"TZ": "Pacific/Auckland", "LC_ALL": "C", "LANG": "C", "PYTHONHASHSEED": "1"},
            **dict.fromkeys(("USER", "METAFLOW_USER", "LOGNAME"), "grace"),
        },
        {"SOURCE_DATE_EPOCH": "1234567890"},
    ],
    ids=["many", "SOURCE_DATE_EPOCH"],
)
def test_the_environment_does_not_matter(
    mfbuild: Runner, first: tuple[Path, str], tmp_path: Path, env: dict[str, str]
) -> None:
    assert again(mfbuild, first, tmp_path / "elsewhere", **env) == first[1]


@pytest.mark.parametrize(("jobs", "mask"), [("1", 0o022), ("8", 0o077)])
def test_the_number_of_jobs_and_the_umask_do_not_matter(
    mfbuild: Runner, first: tuple[Path, str], tmp_path: Path, jobs: str, mask: int
) -> None:
    before = os.umask(mask)
    try:
        assert again(mfbuild, first, tmp_path / "w", "-j", jobs) == first[1]
    finally:
        os.umask(before)


def test_home_folder_and_the_modes_times_and_order_of_the_sources_do_not_matter(
    mfbuild: Runner, first: tuple[Path, str], tmp_path: Path
) -> None:
    home, where = tmp_path / "home", tmp_path / "a very/deep folder"
    home.mkdir()
    where.mkdir(parents=True)
    for file in sorted((f for f in first[0].iterdir() if f.is_file()), reverse=True):
        copy = where / file.name
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)
        os.utime(copy, (1, 1))
    assert anew(mfbuild, where, HOME=str(home)) == first[1]


def test_a_cold_store_does_not_matter(first: tuple[Path, str], tmp_path: Path) -> None:
    assert again(Runner(tmp_path / "store"), first, tmp_path / "w") == first[1]


def other_python() -> str | None:
    """An interpreter of another supported minor version, on PATH or beside this one's."""
    others = [f"3.{m}" for m in (10, 11, 12, 13) if m != sys.version_info.minor]
    found = [shutil.which(f"python{version}") for version in others]
    beside = Path(sys.base_prefix).parent  # where version managers keep the others
    found += [str(p) for v in others for p in beside.glob(f"{v}.*/bin/python3")]
    for python in found:
        # A version manager's shim may be there without a version behind it.
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


def test_the_python_that_runs_mfbuild_does_not_matter(
    mfbuild: Runner, first: tuple[Path, str], tmp_path: Path
) -> None:
    python = other_python()
    if python is None:
        pytest.skip("there is no second Python version on this machine")
    venv = tmp_path / "venv"
    uv = find_uv_bin()
    run_tool(uv, "venv", "-q", "--python", python, venv)
    install = (uv, "pip", "install", "-q", "--python", venv)
    run_tool(*install, "--require-hashes", "-r", ROOT / "requirements.lock")
    run_tool(*install, "--no-deps", "--no-build-isolation", ROOT)
    other = Runner(mfbuild.store, python=str(venv / "bin/python"))
    assert again(other, first, tmp_path / "w") == first[1]
