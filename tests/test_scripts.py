"""What scripts/test runs and installs, where the programs that it calls only say that they were."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
SAY = '#!/bin/sh\necho "$(basename "$0") $*"\n'
PYTHON = """#!/bin/sh
case "$*" in
    "-m tests.cluster.build --commands") echo etcd:etcd-server sh:dash ;;
    *) echo "python $*"; case "$*" in *pytest*) exit 5 ;; esac ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """One that has the script, a shell, and no container tools."""

    folder: Path

    def __call__(self, *words: str, user: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        write(self.folder / "bin/id", f"#!/bin/sh\necho {user}\n")
        return subprocess.run(
            [self.folder / "scripts/test", *words],
            env={"PATH": str(self.folder / "bin"), **env},
            capture_output=True,
            text=True,
        )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    write(tmp_path / "scripts/test", (SCRIPTS / "test").read_text())
    write(tmp_path / ".venv/bin/python", PYTHON)
    for name in ("scripts/setup", "scripts/check", "scripts/apt-install", "bin/apt-get"):
        write(tmp_path / name, SAY)
    for name in ("sh", "dirname", "basename"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    return Machine(tmp_path)


PYTEST = "python -m pytest -n auto --dist loadfile -m {} --ignore tests/cluster -k some"


def test_nothing_is_installed_unasked(machine: Machine) -> None:
    done = machine("-k", "some")
    assert done.stdout.splitlines() == ["setup ", "check ", PYTEST.format("not tools")]
    engine, tools, hint = done.stderr.splitlines()
    assert engine.startswith("test: NOT RUN: the tests on a Flyte engine")
    assert tools.startswith("test: NOT RUN: the tests that need these tools of Debian")
    assert {"skopeo", "docker.io", "podman", "qemu-user-static"} <= set(tools.split())
    assert "--install" in hint


@pytest.mark.parametrize("asked", [("--install",), ()])
def test_what_is_installed_is_said(machine: Machine, asked: tuple[str, ...]) -> None:
    done = machine(*asked, "-k", "some", CI="" if asked else "true")
    setup, install, check, run = done.stdout.splitlines()
    said, engine = done.stderr.splitlines()
    assert (setup, check, run) == ("setup ", "check ", PYTEST.format(""))
    assert install.replace("apt-install", "test: installing") == said
    assert "docker.io" in said.split()
    assert "a Flyte engine" in engine


def test_what_cannot_be_installed_is_left_out(machine: Machine) -> None:
    done = machine("--install", user=1000)
    assert "-m not tools" in done.stdout
    assert done.stderr.startswith("test: cannot install skopeo ")
    assert "NOT RUN: the tests that need these tools" in done.stderr


def test_the_exit_code_is_that_of_pytest(machine: Machine) -> None:
    assert machine().returncode == 5
    assert machine("--cluster").returncode == 5


def test_a_failed_installation_is_the_end(machine: Machine) -> None:
    write(machine.folder / "scripts/apt-install", "#!/bin/sh\nexit 100\n")
    done = machine("--install")
    assert (done.returncode, done.stdout) == (100, "setup \n")


def test_what_the_engine_takes_is_installed_when_asked_too(machine: Machine) -> None:
    run = ["setup ", "python -m tests.cluster.build", "python -m pytest tests/cluster --all"]
    done = machine("--cluster", "--all")
    assert done.stdout.splitlines() == run
    assert done.stderr.splitlines()[0].endswith(" which are missing: etcd-server")
    asked = machine("--install", "--cluster", "--all")
    assert asked.stdout.splitlines() == [run[0], "apt-install etcd-server", *run[1:]]
    assert asked.stderr == "test: installing etcd-server\n"
