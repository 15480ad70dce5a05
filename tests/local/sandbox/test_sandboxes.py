"""The same small flow in every place that a step can run in: each has the image's own world."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mfbuild.bundle.read import read_bundle
from mfbuild.engine.store import Store
from mfbuild.errors import UsageError
from mfbuild.local.sandbox.container import containers
from mfbuild.local.sandbox.executor import IMAGE_PYTHON, LauncherStart, Processes, ProcessJob
from mfbuild.local.sandbox.images import StepImages
from mfbuild.local.sandbox.mounts import Bind
from mfbuild.local.sandbox.rootfs import RootfsSandbox
from mfbuild.local.sandbox.runtime_tree import lay_runtime
from mfbuild.oci.archive import host_platform
from tests.docker import docker_daemon
from tests.e2e.conftest import Runner
from tests.local.compared import artifacts, ours, settings
from tests.podman import podman

FLOW = """
import json, os, ssl, subprocess, sys, zoneinfo
from metaflow import FlowSpec, environment, pypi, step

class PlaceFlow(FlowSpec):
    @pypi(packages={"six": "1.16.0"})
    @environment(vars={"ONLY_HERE": "yes"})
    @step
    def start(self):
        import six
        self.seen = dict(
            six=six.__version__,
            python=sys.version_info[:2],
            executable=sys.executable,
            root=sorted(os.listdir("/")),
            files=os.path.exists(__OUTSIDE__),
            variable=os.environ["ONLY_HERE"],
            zone=str(zoneinfo.ZoneInfo("Europe/Berlin")),
            certificates=len(ssl.create_default_context().get_ca_certs()) > 9,
            again=subprocess.check_output(
                [sys.executable, "-c", "import six; print(six.__version__)"], text=True
            ).strip(),
        )
        try:
            open(six.__file__, "a")
        except OSError:
            self.seen["read_only"] = True
        self.next(self.end)

    @step
    def end(self):
        # Metaflow needs six itself, by way of boto3, in the version that was newest.
        import six
        self.seen["other_six"] = six.__version__
        self.as_json = json.dumps(self.seen)

if __name__ == "__main__":
    PlaceFlow()
"""


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """The flow, in a folder of its own, with a file outside that it should not see."""
    folder = tmp_path / "ws"
    folder.mkdir()
    # Every host has a shell, and no image of ours.
    outside = str(Path("/bin/sh").resolve())
    (folder / "flow.py").write_text(FLOW.replace("__OUTSIDE__", repr(outside)))
    return folder / "flow.py"


def seen(mfbuild: Runner, flow: Path, *words: str, **env: str) -> dict[str, object]:
    """What the steps of the flow saw."""
    done = ours(mfbuild, flow, flow.parent, "--platform", "linux/amd64", *words, **env)
    assert done.code == 0, done.err
    left = [*flow.parent.glob(".m*/**/*")]
    assert {path.lstat().st_uid for path in left} == {os.geteuid()}
    assert not [path.name for path in left if path.name == "config.json"]
    assert [path for path in (mfbuild.store / "tmp").iterdir() if path.is_dir()] == []
    return told(flow, done.out)


def told(flow: Path, run: str) -> dict[str, object]:
    """What a run of the flow left as its artifact."""
    (end,) = map(json.loads, artifacts(flow.parent, run.strip())["end"])
    found: dict[str, object] = json.loads(ast.literal_eval(end["as_json"]))
    assert {name: found[name] for name in IMAGE} == IMAGE
    return found


IMAGE = {
    "six": "1.16.0",
    "python": [3, 11],
    "variable": "yes",
    "zone": "Europe/Berlin",
    "certificates": True,
    "again": "1.16.0",
}


def test_namespaces_show_the_image_and_nothing_else(mfbuild: Runner, flow: Path) -> None:
    found = seen(mfbuild, flow)
    assert found["executable"] == "/opt/venv/bin/python"
    assert found["files"] is False
    assert found["read_only"] is True


@pytest.mark.tools
def test_runc_runs_the_image(mfbuild: Runner, flow: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("runc needs root here")
    # It is found in /usr/sbin; Docker and Podman are not.
    found = seen(mfbuild, flow, "--in", "container", PATH="/nowhere")
    assert found["files"] is False


@pytest.mark.tools
def test_podman_runs_the_image(mfbuild: Runner, flow: Path) -> None:
    with podman() as env:
        found = seen(mfbuild, flow, "--in", "container", DOCKER_HOST="unix:///nowhere", **env)
    assert found["files"] is False


@pytest.mark.tools
def test_docker_runs_the_image(mfbuild: Runner, flow: Path) -> None:
    with docker_daemon() as host:
        found = seen(mfbuild, flow, "--in", "container", DOCKER_HOST=host)
    assert found["files"] is False


def test_without_any_engine_a_container_is_an_error(
    mfbuild: Runner, flow: Path, tmp_path: Path
) -> None:
    with laid_out(mfbuild, flow, tmp_path) as images, pytest.raises(UsageError) as caught:
        containers(images, "/nowhere")
    assert "no container engine answers" in str(caught.value)


def test_an_image_that_is_not_there_for_this_machine_is_an_error(
    mfbuild: Runner, flow: Path
) -> None:
    other = {"x86_64": "linux/arm64"}.get(os.uname().machine, "linux/amd64")
    done = ours(mfbuild, flow, flow.parent, "--platform", other)
    assert done.code == 1
    assert f"is there for `{other}`, not for `linux/" in done.err


@pytest.mark.parametrize("fallback", [0, 1, 2])
def test_each_way_into_a_laid_out_image(
    mfbuild: Runner, flow: Path, tmp_path: Path, fallback: int
) -> None:
    """Root's own namespaces, those of any user, the image's loader: where each is to be had."""
    if fallback == 0 and os.geteuid() != 0:
        pytest.skip("only root has namespaces without a user namespace")
    code = "import os, sys, six; print(six.__version__, sys.version_info[:2], os.getuid())"
    notes: list[str] = []
    with laid_out(mfbuild, flow, tmp_path) as images:
        way = Way(RootfsSandbox(images), fallback)
        executor = Processes(way, tmp_path / "launchers", notes.append)
        executor.start(ProcessJob("n/0", "image", (IMAGE_PYTHON, "-c", code), {}, tmp_path))
        ended = executor.wait(60)
        executor.close()
    assert [e.status for e in ended] == [0], (tmp_path / "log").read_text()
    user = "65532" if fallback < 2 else str(os.geteuid())
    assert (tmp_path / "log").stat().st_uid == os.geteuid()
    assert (tmp_path / "log").read_text() == f"1.16.0 (3, 11) {user}\n"
    assert len(notes) == (fallback == 2)


# Where a user has no more of them, the kernel grants none, as one does that knows none.
NO_NAMESPACES = """
echo 0 > /proc/sys/user/max_user_namespaces
echo 0 > /proc/sys/user/max_mnt_namespaces
exec "$@"
"""


def test_a_machine_without_namespaces_has_the_loader_and_says_so(
    mfbuild: Runner, flow: Path
) -> None:
    inside = ("unshare", "--user", "--map-root-user", "sh", "-euc", NO_NAMESPACES, "sh")
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("there are no user namespaces here that could be without any")
    done = subprocess.run(
        [*inside, sys.executable, "-m", "mfbuild", "run", "flow.py", "--platform", "linux/amd64"],
        cwd=flow.parent,
        env={**os.environ, "MFBUILD_STORE": str(mfbuild.store), **settings(flow.parent)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no namespaces are granted here: steps are run by their image's") == 1
    assert told(flow, done.stdout)["files"] is True


@contextmanager
def laid_out(mfbuild: Runner, flow: Path, folder: Path) -> Iterator[StepImages]:
    """The image of the flow's first step, under the name `image`; `folder` is seen inside."""
    (bundle,) = mfbuild.package("flow.py", "--platform", "linux/amd64", cwd=flow.parent)
    with Store.open(mfbuild.store) as store:
        yield StepImages(
            bundle=read_bundle(Path(bundle["path"])),
            store=store,
            platform=host_platform(),
            steps={"image": "start"},
            toolbox=lay_runtime(store),
            binds=(Bind(str(folder), writable=True),),
            environ=os.environ,
            note=lambda sentence: None,
        )


@dataclass
class Way:
    """A place of which so many ways in are left out."""

    place: RootfsSandbox
    skipped: int

    def environment(self, image: str) -> str:
        return self.place.environment(image)

    def close(self) -> None:
        self.place.close()

    def launch(self, environment: str, variables: Mapping[str, str]) -> LauncherStart:
        found: LauncherStart | None = self.place.launch(environment, variables)
        for _ in range(self.skipped if os.geteuid() == 0 else self.skipped - 1):
            found = found and found.otherwise
        assert found is not None
        return found
