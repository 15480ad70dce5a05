"""What was pushed, in the hands of others: skopeo, Docker and containerd pull it by digest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfbuild.bundle.read import Bundle
from mfbuild.bundle.remote import push_bundle
from mfbuild.engine.events import Silent
from mfbuild.oci.archive import host_platform
from tests.containerd import containerd
from tests.docker import docker_daemon
from tests.layouts import BUSYBOX, runnable_bundle
from tests.pushes import repository
from tests.registry import docker_registry

pytestmark = pytest.mark.tools


def run(*arguments: object) -> str:
    done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return runnable_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def pushed(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The repository that the bundle is in."""
    with docker_registry(tmp_path_factory.mktemp("registry") / "it") as host:
        target = repository(host, "team/trainflow")
        assert push_bundle(bundle, target, jobs=4, reporter=Silent())
        yield str(target)


def images(bundle: Bundle, pushed: str) -> dict[str, str]:
    """Each step's image, as a task template names it."""
    return {name: f"{pushed}@{step.image.digest}" for name, step in bundle.manifest.steps.items()}


def test_skopeo_reads_each_image_and_the_bundle(
    bundle: Bundle, pushed: str, tmp_path: Path
) -> None:
    for name, image in images(bundle, pushed).items():
        copy = ["skopeo", "copy", "-q", "--all", "--src-tls-verify=false"]
        run(*copy, f"docker://{image}", f"oci:{tmp_path / 'out'}:{name}")
        blobs = {path.name for path in (tmp_path / "out/blobs/sha256").iterdir()}
        assert bundle.manifest.steps[name].image.digest.hex in blobs
    top = ["skopeo", "inspect", "--raw", "--tls-verify=false"]
    printed = run(*top, f"docker://{pushed}:{bundle.manifest.version}")
    assert printed.encode() == bundle.layout.read("index.json")


def test_docker_pulls_and_runs_each_image(bundle: Bundle, pushed: str) -> None:
    with docker_daemon() as docker:
        for name, image in images(bundle, pushed).items():
            run("docker", "-H", docker, "pull", "-q", image)
            script = "busybox id -u; busybox cat /bin/arch; echo; echo $STEP"
            command = ["docker", "-H", docker, "run", "--rm", "--network=none", image]
            printed = run(*command, "/bin/busybox", "sh", "-c", script).split()
            step = "train" if name == "train" else "any"
            assert printed == ["65532", str(host_platform()), step]


def test_containerd_pulls_and_unpacks_each_image(
    bundle: Bundle, pushed: str, tmp_path: Path
) -> None:
    with containerd() as ctr:
        for image in images(bundle, pushed).values():
            snapshotter = ["--snapshotter", "native"]
            run(*ctr, "images", "pull", "--plain-http", *snapshotter, image)
            assert "complete" in run(*ctr, "images", "check", *snapshotter, f"name=={image}")
            mounted = tmp_path / "mounted"
            mounted.mkdir(exist_ok=True)
            run(*ctr, "images", "mount", *snapshotter, image, mounted)
            try:
                assert (mounted / "bin/arch").read_text() == str(host_platform())
                assert (mounted / "bin/busybox").read_bytes() == BUSYBOX.read_bytes()
            finally:
                run(*ctr, "images", "unmount", "--rm", *snapshotter, mounted)
        listed = json.dumps(run(*ctr, "images", "list", "-q"))
        assert all(image in listed for image in images(bundle, pushed).values())
