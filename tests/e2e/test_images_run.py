"""The images of examples/train, unpacked by tools that are not ours, run as user 65532."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Runner, run_tool

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.tools

Inside = Callable[[str, str], str]

IMPORTS = {
    "start": ["metaflow", "pandas"],
    "train": ["metaflow", "pandas", "sklearn.linear_model"],
    "end": ["metaflow", "ssl", "sqlite3", "ctypes", "zoneinfo"],
}


@pytest.fixture(scope="module")
def train(mfbuild: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of examples/train."""
    folder = tmp_path_factory.mktemp("train") / "train"
    shutil.copytree(EXAMPLES / "train", folder, ignore=shutil.ignore_patterns(".mfbuild"))
    (bundle,) = mfbuild.package("flow.py", cwd=folder)
    return Path(bundle["path"])


@pytest.fixture(scope="module")
def inside(train: Path, tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """What code prints in a step's image, unpacked (once) by skopeo and umoci, run by runc."""
    folder = tmp_path_factory.mktemp("unpacked")

    def run(step: str, code: str) -> str:
        unpacked = folder / step
        if not unpacked.exists():
            run_tool("skopeo", "copy", "-q", "--override-arch", "amd64", f"oci:{train}:{step}",
                     f"oci:{folder}/one:{step}")  # fmt: skip
            run_tool("umoci", "unpack", "--image", f"{folder}/one:{step}", unpacked)
        config = unpacked / "config.json"
        spec: dict[str, Any] = json.loads(config.read_text())
        spec["process"]["terminal"] = False
        spec["process"].pop("rlimits", None)
        spec["process"]["args"] = ["/opt/venv/bin/python", "-c", code]
        config.write_text(json.dumps(spec))
        name = f"mfbuild-test-{os.getpid()}-{step}"
        return run_tool("runc", "--root", folder / "runc", "run", "--bundle", unpacked,
                        name).strip()  # fmt: skip

    return run


@pytest.mark.parametrize("step", sorted(IMPORTS))
@pytest.mark.skipif(os.geteuid() != 0, reason="umoci and runc need root")
def test_each_step_s_imports_run_in_its_image(inside: Inside, step: str) -> None:
    imports = "\n".join(f"import {name}" for name in IMPORTS[step])
    code = f"{imports}\nimport os, sys\nprint(os.getuid(), os.getgid(), sys.prefix)"
    assert inside(step, code) == "65532 65532 /opt/venv"


@pytest.mark.skipif(os.geteuid() != 0, reason="umoci and runc need root")
def test_a_step_that_asks_for_nothing_has_no_pandas(inside: Inside) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('pandas'))"
    assert inside("end", code) == "None"


def test_installed_packages_are_seen_by_importlib_metadata(inside: Inside) -> None:
    code = (
        "from importlib.metadata import distribution, files\n"
        "print(distribution('pandas').version, distribution('pandas').read_text('INSTALLER'))\n"
        "print(all(f.locate().exists() for f in files('pandas')))"
    )
    lines = inside("start", code).split()
    assert lines[1:] == ["mfbuild", "True"]


def test_both_platforms_are_in_every_image(train: Path, tmp_path: Path) -> None:
    for architecture in ("amd64", "arm64"):
        for step in IMPORTS:
            run_tool("skopeo", "copy", "-q", "--override-arch", architecture,
                     f"oci:{train}:{step}", f"dir:{tmp_path}/{architecture}-{step}")  # fmt: skip
            manifest = json.loads((tmp_path / f"{architecture}-{step}/manifest.json").read_text())
            config = manifest["config"]["digest"].partition(":")[2]
            found = json.loads((tmp_path / f"{architecture}-{step}" / config).read_text())
            assert found["architecture"] == architecture
            assert found["config"]["User"] == "65532:65532"
            assert found["created"] == "1970-01-01T00:00:00Z"


def test_an_image_that_shares_wheels_adds_only_its_own(train: Path) -> None:
    """bench: a second image that shares 9 of 10 wheels adds at most 1.1 times the tenth."""
    lock = json.loads((train.parents[2] / "BUILD.lock").read_text())
    sizes = {w["filename"]: w["size"] for w in lock["wheels"]}
    wheels = {
        frozenset(r.split("==")[0] for r in e["requirements"]): set(e["wheels"]["linux/amd64"])
        for e in lock["environments"]
    }
    shared, whole = wheels[frozenset({"pandas"})], wheels[frozenset({"pandas", "scikit-learn"})]
    assert shared < whole
    own = sum(sizes[name] for name in whole - shared)
    added = layers(train, "train").items() - layers(train, "start").items()
    # A layer of a wheel may be the smaller one: a zip names each file twice, and packs no name.
    assert 0.9 * own < sum(size for _, size in added) <= 1.1 * own


def layers(bundle: Path, step: str) -> dict[str, int]:
    """The layers of a step's image for linux/amd64: their sizes by digest."""
    steps = json.loads((bundle / "bundle.json").read_text())["steps"]
    index = _blob(bundle, steps[step]["image"]["digest"])
    (manifest,) = [m for m in index["manifests"] if m["platform"]["architecture"] == "amd64"]
    found = _blob(bundle, manifest["digest"])["layers"]
    return {layer["digest"]: layer["size"] for layer in found}


def _blob(bundle: Path, digest: str) -> Any:
    return json.loads((bundle / "blobs" / digest.replace(":", "/")).read_text())
