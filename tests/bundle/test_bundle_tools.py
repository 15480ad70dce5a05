"""Bundles, as files and pushed, in the hands of others: skopeo, umoci, Docker and containerd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfbuild.bundle.read import Bundle, load_bundle, read_bundle, write_tar
from mfbuild.bundle.remote import push_bundle
from mfbuild.engine.events import Silent
from mfbuild.engine.model import Digest
from mfbuild.oci.archive import host_platform, image_name
from mfbuild.oci.validate import validate_layout
from tests.containerd import containerd
from tests.docker import docker_daemon
from tests.e2e.conftest import run_tool
from tests.layouts import BOTH, BUSYBOX, runnable_bundle
from tests.pushes import repository
from tests.registry import docker_registry

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return runnable_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize("platform", BOTH, ids=str)
@pytest.mark.parametrize("step", ["start", "train", "end"])
def test_skopeo_copies_each_step_for_each_platform(
    tmp_path: Path, bundle: Bundle, step: str, platform: object
) -> None:
    source, target = f"oci:{bundle.layout.path}:{step}", f"oci:{tmp_path / 'out'}:{step}"
    architecture = str(platform).partition("/")[2]
    run_tool("skopeo", "--override-arch", architecture, "copy", "-q", source, target)
    assert validate_layout(tmp_path / "out") == []
    [copied] = json.loads((tmp_path / "out" / "index.json").read_bytes())["manifests"]
    index = bundle.manifest.steps[step].image.digest
    [image] = [image for image in bundle.manifest.images if image.index == index]
    manifests = {str(p): str(digest) for p, digest in image.manifests.items()}
    assert copied["digest"] == manifests[str(platform)]


def test_skopeo_copies_a_whole_index(tmp_path: Path, bundle: Bundle) -> None:
    source, target = f"oci:{bundle.layout.path}:train", f"oci:{tmp_path / 'out'}:train"
    run_tool("skopeo", "copy", "-q", "--all", source, target)
    assert validate_layout(tmp_path / "out") == []
    inspected = json.loads(run_tool("skopeo", "inspect", "--raw", target))
    assert {m["platform"]["architecture"] for m in inspected["manifests"]} == {"amd64", "arm64"}


def test_umoci_unpacks_an_image(tmp_path: Path, bundle: Bundle) -> None:
    source, target = f"oci:{bundle.layout.path}:train", f"oci:{tmp_path / 'out'}:train"
    run_tool("skopeo", "--override-arch", "arm64", "copy", "-q", source, target)
    unpacked = tmp_path / "unpacked"
    run_tool("umoci", "unpack", "--rootless", "--image", f"{tmp_path / 'out'}:train", unpacked)
    files = {
        str(p.relative_to(unpacked / "rootfs")): p.read_bytes()
        for p in (unpacked / "rootfs").rglob("*")
        if p.is_file()
    }
    assert files == {
        "bin/busybox": BUSYBOX.read_bytes(),
        "bin/arch": b"linux/arm64",
        "opt/venv/lib/pandas.py": b"pandas",
    }
    config = json.loads((unpacked / "config.json").read_bytes())
    assert "STEP=train" in config["process"]["env"]


@pytest.fixture(scope="module")
def docker() -> Iterator[str]:
    with docker_daemon() as host:
        yield host


def check_runs(docker: str, image: str, step: str) -> None:
    """A step's image runs on this machine, as its user."""
    script = "busybox id -u; busybox cat /bin/arch; echo; echo $STEP"
    command = ["docker", "-H", docker, "run", "--rm", "--network=none", image]
    printed = run_tool(*command, "/bin/busybox", "sh", "-c", script).split()
    assert printed == ["65532", str(host_platform()), "train" if step == "train" else "any"]


def check_loaded(docker: str, bundle: Bundle) -> None:
    """Every step's image is there, is the one of the bundle, and runs as its user."""
    manifest = bundle.manifest
    for name, step in manifest.steps.items():
        image = image_name(manifest.flow, manifest.version, name)
        found = json.loads(run_tool("docker", "-H", docker, "image", "inspect", image))[0]
        index = json.loads(bundle.layout.blob(step.image.digest))
        ours = host_platform().architecture
        chosen = [m for m in index["manifests"] if m["platform"]["architecture"] == ours]
        config = json.loads(bundle.layout.blob(Digest.parse(chosen[0]["digest"])))["config"]
        assert found["Id"] == config["digest"]
        check_runs(docker, image, name)
        run_tool("docker", "-H", docker, "image", "rm", image)


def test_docker_loads_the_bundle_as_one_file(tmp_path: Path, docker: str, bundle: Bundle) -> None:
    file = write_tar(bundle, tmp_path / "bundle.tar")
    run_tool("docker", "-H", docker, "load", "-q", "-i", file)
    check_loaded(docker, bundle)


def test_docker_loads_the_bundle_through_its_package(
    docker: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker)
    manifest = bundle.manifest
    expected = tuple(
        sorted(image_name(manifest.flow, manifest.version, name) for name in manifest.steps)
    )
    assert load_bundle(bundle) == expected
    check_loaded(docker, bundle)
    assert load_bundle(read_bundle(write_tar(bundle, tmp_path / "bundle.tar"))) == expected
    check_loaded(docker, bundle)


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
        run_tool(*copy, f"docker://{image}", f"oci:{tmp_path / 'out'}:{name}")
        blobs = {path.name for path in (tmp_path / "out/blobs/sha256").iterdir()}
        assert bundle.manifest.steps[name].image.digest.hex in blobs
    top = ["skopeo", "inspect", "--raw", "--tls-verify=false"]
    printed = run_tool(*top, f"docker://{pushed}:{bundle.manifest.version}")
    assert printed.encode() == bundle.layout.read("index.json")


def test_docker_pulls_and_runs_each_image(docker: str, bundle: Bundle, pushed: str) -> None:
    for name, image in images(bundle, pushed).items():
        run_tool("docker", "-H", docker, "pull", "-q", image)
        check_runs(docker, image, name)


def test_containerd_pulls_and_unpacks_each_image(
    bundle: Bundle, pushed: str, tmp_path: Path
) -> None:
    with containerd() as ctr:
        for image in images(bundle, pushed).values():
            snapshotter = ["--snapshotter", "native"]
            run_tool(*ctr, "images", "pull", "--plain-http", *snapshotter, image)
            assert "complete" in run_tool(*ctr, "images", "check", *snapshotter, f"name=={image}")
            mounted = tmp_path / "mounted"
            mounted.mkdir(exist_ok=True)
            run_tool(*ctr, "images", "mount", *snapshotter, image, mounted)
            try:
                assert (mounted / "bin/arch").read_text() == str(host_platform())
                assert (mounted / "bin/busybox").read_bytes() == BUSYBOX.read_bytes()
            finally:
                run_tool(*ctr, "images", "unmount", "--rm", *snapshotter, mounted)
        listed = json.dumps(run_tool(*ctr, "images", "list", "-q"))
        assert all(image in listed for image in images(bundle, pushed).values())
