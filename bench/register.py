"""`mfbuild push` of ten tasks, a workflow and a launch plan, against `pyflyte register` of such.

Both talk to the double of flyteadmin of tests/, mfbuild to a docker-registry of Debian besides.
flytekit is installed into an environment of its own. Everything it starts, it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from package import STEPS, flow_text
from timing import Timed, in_turn, table, times

ROOT = Path(__file__).parent.parent
FLYTEKIT = ("flytekit==1.16.31", "setuptools<82")
PROJECTS = tuple(f"bench{number}" for number in range(100))

SERVER = f"""
import sys, tempfile
from pathlib import Path
from tests.flyteadmin.double import flyteadmin
from tests.registry import docker_registry

folder = Path(tempfile.mkdtemp())
with docker_registry(folder / "registry") as registry:
    with flyteadmin(folder / "admin", projects={PROJECTS!r}) as double:
        print(double.endpoint, registry, flush=True)
        sys.stdin.read()
        calls = dict(double.calls)
        print(calls, flush=True)
"""

WORKFLOW = "\n".join(
    [
        "from flytekit import task, workflow",
        *(f"@task\ndef s{n}() -> None: ..." for n in range(STEPS)),
        "@workflow",
        "def ten() -> None:",
        *(f"    s{n}()" for n in range(STEPS)),
    ]
)


@contextlib.contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """A double and a registry; their addresses."""
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        endpoint, registry = process.stdout.readline().split()
        yield endpoint, registry
        process.communicate()


def flytekit(folder: Path) -> Path:
    """`pyflyte`, in an environment below `folder`."""
    uv = Path(sys.executable).with_name("uv")
    if not (folder / "bin/pyflyte").exists():
        python = ["--python", sys.executable]
        subprocess.run([uv, "venv", "-q", "--clear", *python, folder], check=True)
        install = [str(uv), *("pip", "install", "-q", "--python"), str(folder / "bin/python")]
        subprocess.run([*install, *FLYTEKIT], check=True)
    return folder / "bin/pyflyte"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=7)
    parser.add_argument("--flytekit", type=Path, help="a folder to keep flytekit in")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory() as beside,  # pyflyte packs up the folder that it stands in
        servers() as (endpoint, registry),
    ):
        folder = Path(name)
        pyflyte = flytekit(args.flytekit or Path(beside))
        (folder / "flow.py").write_text(flow_text(0))
        (folder / "ten.py").write_text(WORKFLOW)
        (folder / "BUILD.toml").write_text(
            f'[workspace]\nregistry = "{registry}/bench"\nplatforms = ["linux/amd64"]\n'
            f'[flyte]\nendpoint = "http://{endpoint}"\n[domain.development.metaflow]\n'
            'datastore_sysroot_s3 = "s3://bucket/metaflow"\n'
        )
        mfbuild = [sys.executable, "-m", "mfbuild"]
        made = subprocess.run(
            [*mfbuild, "package", "-q", "flow.py"], cwd=folder, stdout=subprocess.PIPE, check=True
        )
        push = [*mfbuild, "push", "-q", made.stdout.decode().strip(), "-p"]
        register = [str(pyflyte), "register", "--version", "v1", "ten.py", "-p"]
        settings = {"FLYTE_PLATFORM_URL": endpoint, "FLYTE_PLATFORM_INSECURE": "true"}
        fresh = iter(PROJECTS)
        first = Timed("mfbuild push, first", push, cwd=name)
        peer = Timed("pyflyte register, first", register, env=settings, cwd=name)
        for one, words in ((first, push), (peer, register)):
            one.before = lambda one=one, words=words: setattr(one, "command", [*words, next(fresh)])  # type: ignore[misc]
        in_turn([first, peer], args.runs)
        again = Timed("mfbuild push, again", [*push, PROJECTS[0]], cwd=name)
        other = Timed("pyflyte register, again", [*register, PROJECTS[1]], env=settings, cwd=name)
        in_turn([again, other], args.runs)
    rows = [[t.name, times(t)] for t in (first, peer, again, other)]
    for what, bar, ours, theirs in (
        ("registering", "0.2", first, peer),
        ("registering again", "0.1", again, other),
    ):
        rows.append([f"{what}: ratio (bar {bar})", f"{ours.median / theirs.median:.3f}"])
    print(table(rows, ["what", "min / median s"]))


if __name__ == "__main__":
    os.environ.setdefault("METAFLOW_USER", "bench")
    main()
