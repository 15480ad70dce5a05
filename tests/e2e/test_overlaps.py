"""Packages that bring the same paths: packaged as pip installs them, told each time, or refused."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.conftest import Done, Runner
from tests.wheels import make_wheel

FLOW = """
import subprocess
from pathlib import Path

from metaflow import FlowSpec, pypi, step


class OverFlow(FlowSpec):
    @pypi(packages={"lib-one": "1.0", "lib-two": "1.0"})
    @step
    def start(self):
        import lib_one, lib_two

        assert Path(lib_one.__file__).with_name("LICENSE").read_text() == "lib_two"
        self.next(self.forks)

    @pypi(packages={"augment": "1.0", "faces": "1.0"})
    @step
    def forks(self):
        import augment, cvx, faces

        assert cvx.WHO == "headless"
        self.next(self.end)

    @pypi(packages={"ep-one": "1.0", "ep-two": "1.0"})
    @step
    def end(self):
        assert subprocess.check_output(["tool"], text=True).strip() == "ep_two"


if __name__ == "__main__":
    OverFlow()
"""
SITE = "opt/venv/lib/python3.11/site-packages"
TOLD = [
    f"`lib_one-1.0` and `lib_two-1.0` bring different content to `{SITE}/LICENSE`, "
    f"`{SITE}/tests/conftest.py`",
    "`gui_cv-1.0` (required by `faces-1.0`) and `headless_cv-1.0` (required by `augment-1.0`) "
    f"bring different content to `{SITE}/cvx/__init__.py`",
    "`ep_one-1.0` and `ep_two-1.0` bring different content to `opt/venv/bin/tool`",
]


def write_wheels(folder: Path) -> None:
    """`lib_two` has a layer of its own, which lies below that of `lib_one`."""
    folder.mkdir()
    large = {"lib_one": b"", "lib_two": random.Random(1).randbytes(1_100_000)}
    for name in ("lib_one", "lib_two"):
        files = {f"{name}.py": "", "LICENSE": name, "tests/__init__.py": ""}
        files |= {"tests/conftest.py": f"# {name}\n"}
        make_wheel(folder, {**files, f"{name}.bin": large[name]}, name=name)
    for name in ("gui", "headless"):
        make_wheel(folder, {"cvx/__init__.py": f"WHO = {name!r}\n"}, name=f"{name}_cv")
    make_wheel(folder, {"augment.py": ""}, name="augment", requires=["headless-cv"])
    make_wheel(folder, {"faces.py": ""}, name="faces", requires=["gui-cv"])
    for name in ("ep_one", "ep_two"):
        points = {"entry_points.txt": f"[console_scripts]\ntool = {name}:go\n"}
        files = {f"{name}.py": f"def go():\n    print({name!r})\n"}
        make_wheel(folder, files, name=name, info=points)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    folder = tmp_path_factory.mktemp("overlaps")
    write_wheels(folder / "wheels")
    (folder / "flow.py").write_text(FLOW)
    return folder, {"UV_FIND_LINKS": str(folder / "wheels")}


def told(done: Done) -> list[str]:
    return [line for line in done.err.splitlines() if "different content" in line]


@pytest.mark.parametrize("time", ["first", "cached"])
def test_each_environment_is_told_once_also_when_all_is_cached(
    mfbuild: Runner, place: tuple[Path, Mapping[str, str]], time: str
) -> None:
    folder, env = place
    done = mfbuild("package", "-q", "flow.py", cwd=folder, **env)
    assert done.code == 0, done.err
    steps = ("start", "forks", "end")
    lines = told(done)
    assert len(lines) == len(TOLD)
    for line, step, text in zip(lines, steps, TOLD, strict=True):
        assert line.startswith(f"warning: {text}: the last one's is used (//flow.py:{step}); ")


def test_steps_see_the_last_one_s_files(
    mfbuild: Runner, place: tuple[Path, Mapping[str, str]]
) -> None:
    folder, env = place
    done = mfbuild("run", "flow.py", cwd=folder, **env)
    assert done.code == 0, done.err


def test_an_overlap_is_an_error_where_build_toml_says_so(
    mfbuild: Runner, place: tuple[Path, Mapping[str, str]]
) -> None:
    folder, env = place
    (folder / "BUILD.toml").write_text('[workspace]\noverlap = "error"\n')
    done = mfbuild("package", "-q", "flow.py", cwd=folder, **env)
    (folder / "BUILD.toml").unlink()
    assert (done.code, done.out) == (1, "")
    assert [line.removeprefix("error: ") for line in told(done)] == TOLD
    assert "hint: where only one of them is wanted" in done.err
