"""Bundles in the hands of tools that are not ours: skopeo, umoci and Docker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfbuild.bundle.read import Bundle, load_bundle, read_bundle, write_tar
from mfbuild.engine.model import Digest
from mfbuild.oci.archive import host_platform, image_name
from mfbuild.oci.validate import validate_layout
from tests.docker import docker_daemon
from tests.layouts import BOTH, BUSYBOX, runnable_bundle

pytestmark = pytest.mark.tools


def run(*arguments: object) -> str:
    done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    run("skopeo", "--override-arch", architecture, "copy", "-q", source, target)
    assert validate_layout(tmp_path / "out") == []
    [copied] = json.loads((tmp_path / "out" / "index.json").read_bytes())["manifests"]
    index = bundle.manifest.steps[step].image.digest
    [image] = [image for image in bundle.manifest.images if image.index == index]
    manifests = {str(p): str(digest) for p, digest in image.manifests.items()}
    assert copied["digest"] == manifests[str(platform)]


def test_skopeo_copies_a_whole_index(tmp_path: Path, bundle: Bundle) -> None:
    source, target = f"oci:{bundle.layout.path}:train", f"oci:{tmp_path / 'out'}:train"
    run("skopeo", "copy", "-q", "--all", source, target)
    assert validate_layout(tmp_path / "out") == []
    inspected = json.loads(run("skopeo", "inspect", "--raw", target))
    assert {m["platform"]["architecture"] for m in inspected["manifests"]} == {"amd64", "arm64"}


def test_umoci_unpacks_an_image(tmp_path: Path, bundle: Bundle) -> None:
    source, target = f"oci:{bundle.layout.path}:train", f"oci:{tmp_path / 'out'}:train"
    run("skopeo", "--override-arch", "arm64", "copy", "-q", source, target)
    unpacked = tmp_path / "unpacked"
    run("umoci", "unpack", "--rootless", "--image", f"{tmp_path / 'out'}:train", unpacked)
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


def check_loaded(docker: str, bundle: Bundle) -> None:
    """Every step's image is there, is the one of the bundle, and runs as its user."""
    manifest = bundle.manifest
    for name, step in manifest.steps.items():
        image = image_name(manifest.flow, manifest.version, name)
        found = json.loads(run("docker", "-H", docker, "image", "inspect", image))[0]
        index = json.loads(bundle.layout.blob(step.image.digest))
        ours = host_platform().architecture
        chosen = [m for m in index["manifests"] if m["platform"]["architecture"] == ours]
        config = json.loads(bundle.layout.blob(Digest.parse(chosen[0]["digest"])))["config"]
        assert found["Id"] == config["digest"]
        script = "busybox id -u; busybox cat /bin/arch; echo; echo $STEP"
        command = ["docker", "-H", docker, "run", "--rm", "--network=none", image]
        printed = run(*command, "/bin/busybox", "sh", "-c", script).split()
        assert printed == ["65532", str(host_platform()), "train" if name == "train" else "any"]
        run("docker", "-H", docker, "image", "rm", image)


def test_docker_loads_the_bundle_as_one_file(tmp_path: Path, docker: str, bundle: Bundle) -> None:
    file = write_tar(bundle, tmp_path / "bundle.tar")
    run("docker", "-H", docker, "load", "-q", "-i", file)
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
