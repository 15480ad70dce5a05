"""Installed from a wheel, beside a workspace whose folders and modules are called as ours are."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import Done, Runner, run_tool
from tests.metaflow_side.flows import Metaflow, succeed, text
from tests.wheel import ROOT, build_sdist, build_wheel, contents, copy_sources, install

FLOW = """
from metaflow import FlowSpec, Parameter, flyte, step

import mfbuild


class Hello(FlowSpec):
    who = Parameter("who", default="world")

    @step
    def start(self):
        import mfbuild as late

        self.greeting = f"{mfbuild.GREETING}, {self.who}"
        self.is_the_same = late is mfbuild
        self.next(self.end)

    @step
    def end(self):
        import mfbuild.inner

        print(self.greeting, mfbuild.inner.VALUE, self.is_the_same)


if __name__ == "__main__":
    Hello()
"""
Writer = Callable[[Path], Path]
SAID = "good morning, world inner True"
AMD64 = {"MFBUILD_PLATFORMS": "linux/amd64"}

HOSTILE = 'raise SystemExit("a file of the workspace was run")\n'


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build_wheel(copy_sources(folder / "sources"), folder)


@pytest.fixture(scope="session")
def python(wheel: Path) -> Path:
    """An interpreter whose mfbuild is the wheel's."""
    python = install(wheel, wheel.parent / "environment")
    code = "import mfbuild, mfbuild.rules; print(mfbuild.__file__, mfbuild.rules.__file__)"
    for file in run_tool(python, "-c", code, cwd=wheel.parent).split():
        assert Path(file).is_relative_to(wheel.parent / "environment")
    return python


def hostile(folder: Path) -> Path:
    """A flow in a workspace where nothing that is called as something of ours is."""
    for name in ("build_rules", "tests", "images"):
        _write(folder / name / "__init__.py", HOSTILE)
    for name in ("code", "layering", "providers"):
        _write(folder / f"build_rules/{name}.py", HOSTILE)
    _write(folder / "images/python3.11/notes.txt", "no image.toml")
    _write(folder / "images/junk/image.toml", "no TOML [")
    _write(folder / "metaflow_extensions/notes.txt", "no extension")
    _write(folder / "metaflow_extensions/other/notes.txt", "no extension")
    return folder


def own_mfbuild(folder: Path) -> Path:
    """A flow that imports the workspace's own package `mfbuild`, early and late."""
    _write(folder / "mfbuild/__init__.py", 'GREETING = "good morning"\n')
    _write(folder / "mfbuild/inner.py", 'VALUE = "inner"\n')
    return _write(folder / "flow.py", FLOW)


def plain(folder: Path) -> Path:
    """The same flow, without a `mfbuild` of the workspace's own."""
    _write(folder / "greet.py", 'GREETING = "good morning"\n')
    _write(folder / "inner.py", 'VALUE = "inner"\n')
    own = FLOW.replace("import mfbuild.inner", "import inner")
    own = own.replace("mfbuild.inner.", "inner.").replace("mfbuild", "greet")
    return _write(folder / "flow.py", own)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = hostile(tmp_path / "workspace")
    _write(folder / "BUILD.toml", "")
    return folder


@pytest.fixture
def metaflow(tmp_path: Path, python: Path, session_store: Path) -> Metaflow:
    return Metaflow(tmp_path, session_store, AMD64, interpreter=str(python))


def command(python: Path, store: Path, *words: str, cwd: Path) -> Done:
    """What the program `mfbuild` leaves."""
    environ = Metaflow(cwd, store, AMD64).environ
    program = [str(python.with_name("mfbuild")), *words]
    done = subprocess.run(program, cwd=cwd, env=environ, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_wheel_has_two_names_at_the_top(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in contents(wheel)}
    assert {top for top in tops if ".dist-info" not in top} == {"mfbuild", "metaflow_extensions"}


def test_the_wheel_has_all_that_the_checkout_has(wheel: Path) -> None:
    shipped = {
        f"{package}/{file.relative_to(ROOT / folder)}"
        for folder, package in (
            *(("mfbuild", "mfbuild"), ("metaflow_extensions", "metaflow_extensions")),
            *(("build_rules", "mfbuild/rules"), ("images", "mfbuild/_images")),
        )
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and "rules" not in file.parts
    }
    found = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert found == shipped


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sources = build_sdist(copy_sources(tmp_path / "sources"), tmp_path / "sdist")
    assert contents(build_wheel(sources, tmp_path)) == contents(wheel)


def test_an_editable_installation_has_what_the_wheel_has() -> None:
    import mfbuild.rules.code

    assert Path(mfbuild.rules.code.__file__).samefile(ROOT / "build_rules/code.py")


@pytest.mark.parametrize("write", [own_mfbuild, plain])
def test_the_program(python: Path, session_store: Path, workspace: Path, write: Writer) -> None:
    write(workspace)
    packaged = command(python, session_store, "package", "-q", "flow.py", cwd=workspace)
    assert (packaged.code, packaged.out.count("\n")) == (0, 1), packaged.err
    pushed = command(python, session_store, "push", "flow.py", cwd=workspace)
    version = Path(packaged.out.strip()).name.rpartition("-")[2]
    assert (pushed.code, pushed.out) == (0, f"Hello@{version}\n"), pushed.err
    run = command(python, session_store, "run", "--in", "host", "flow.py", cwd=workspace)
    assert run.code == 0, run.err
    (log,) = workspace.glob(".mfbuild/runs/*/nodes/end/0/log")
    assert SAID in log.read_text()


def test_the_module(python: Path, session_store: Path, workspace: Path) -> None:
    plain(workspace)
    mfbuild = Runner(session_store, AMD64, str(python))
    done = mfbuild("package", "-q", "flow.py", cwd=workspace)
    assert done.code == 0, done.err


def test_the_module_beside_a_package_of_its_name(python: Path, workspace: Path) -> None:
    """Python's own rule for -m: what is in the folder comes first, unless it is told otherwise."""
    own_mfbuild(workspace)
    told = [
        subprocess.run(
            [str(python), *options, "-m", "mfbuild", "--version"],
            cwd=workspace,
            capture_output=True,
            text=True,
        )
        for options in ((), ("-I",))
    ]
    assert [done.returncode for done in told] == [1, 0]
    assert "'mfbuild' is a package and cannot be directly executed" in told[0].stderr


@pytest.mark.parametrize("write", [own_mfbuild, plain])
def test_the_metaflow_side(metaflow: Metaflow, workspace: Path, write: Writer) -> None:
    flow = write(workspace)
    assert "deployed to Flyte successfully" in text(succeed(metaflow(flow, "flyte", "create")))
    run = metaflow.triggered(flow)
    assert metaflow.client(f"run({run!r})['start'].task.data.greeting") == "good morning, world"
    assert "Run flyte-" in text(succeed(metaflow(flow, "flyte", "run", "--who", "you")))
    mixed = succeed(metaflow(flow, "run", "--with", "flyte"))
    assert SAID in mixed.out + mixed.err


def test_a_step_of_a_local_run_beside_one_on_flyte(metaflow: Metaflow, workspace: Path) -> None:
    flow = own_mfbuild(workspace)
    flow.write_text(flow.read_text().replace("    @step", "    @flyte\n    @step", 1))
    done = succeed(metaflow(flow, "run"))
    told = done.out + done.err
    assert ("Task is starting on Flyte" in told, SAID in told) == (True, True)


SCRIPT = """
import json, sys

if "early" in sys.argv:
    import mfbuild
from metaflow import DeployedFlow
from metaflow_extensions.mfbuild.plugins.flyte.installed import installed

told = []
(deployed,) = DeployedFlow.list_deployed_flows(impl="flyte")
with installed():
    from mfbuild.errors import MfbuildError as first
with installed(), installed():
    from mfbuild.errors import MfbuildError as second
assert first is second
import mfbuild
import mfbuild.inner

print(json.dumps([deployed.name, mfbuild.GREETING, mfbuild.inner.VALUE]))
"""


@pytest.mark.parametrize("when", ["early", "late"])
def test_a_script_with_a_mfbuild_of_its_own(metaflow: Metaflow, workspace: Path, when: str) -> None:
    """What it has imported before it asks for deployments, or only afterwards."""
    succeed(metaflow(own_mfbuild(workspace), "flyte", "create"))
    script = _write(workspace / "script.py", SCRIPT)
    done = succeed(metaflow(script, when))
    assert json.loads(done.out) == ["Hello", "good morning", "inner"]


def test_a_base_of_the_workspace_comes_before_the_shipped_one(
    metaflow: Metaflow, workspace: Path
) -> None:
    """The junk beside it is of nobody's interest."""
    flow = plain(workspace)
    before = _digest(metaflow, flow)
    image = shutil.copytree(
        ROOT / "images/python3.11", workspace / "images/python3.11", dirs_exist_ok=True
    )
    toml = (image / "image.toml").read_text()
    (image / "image.toml").write_text(toml.replace('LANG = "C.UTF-8"', 'LANG = "C"'))
    assert _digest(metaflow, flow) != before


def _digest(metaflow: Metaflow, flow: Path) -> str:
    mfbuild = replace(metaflow, cwd=flow.parent)
    return succeed(mfbuild.python("-I", "-m", "mfbuild", "package", "-q", "--json", flow.name)).out


def _write(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file
