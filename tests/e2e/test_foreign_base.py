"""An OCI image by digest as a base: from a layout, in a folder of images/ and by reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import FLOW, Runner, write_flow

AMD64 = ("--platform", "linux/amd64")
IMAGE = """
from = "{reference}"
python = "3.11"
interpreter = "/usr/bin/python3.11"
glibc = "2.36"
"""


@pytest.fixture(scope="module")
def reference(mfbuild: Runner, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image in a layout: that of a packaged flow's last step."""
    folder = tmp_path_factory.mktemp("other")
    write_flow(folder)
    (bundle,) = mfbuild.package("flow.py", *AMD64, cwd=folder)
    steps = json.loads((Path(bundle["path"]) / "bundle.json").read_text())["steps"]
    return f"oci:{bundle['path']}@{steps['end']['image']['digest']}"


def layers(path: str, step: str) -> list[str]:
    """The digests of the layers of a step's one image."""
    blobs = Path(path) / "blobs"

    def read(digest: str) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = json.loads(
            (blobs / digest.replace(":", "/")).read_text()
        )
        return found

    steps = json.loads((Path(path) / "bundle.json").read_text())["steps"]
    (manifest,) = read(steps[step]["image"]["digest"])["manifests"]
    return [layer["digest"] for layer in read(manifest["digest"])["layers"]]


def test_a_folder_of_images_names_an_image_by_digest(
    mfbuild: Runner, tmp_path: Path, reference: str
) -> None:
    write_flow(tmp_path)
    folder = tmp_path / "images/other"
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(IMAGE.format(reference=reference))
    unlocked = mfbuild("package", "flow.py", "--base", "other", *AMD64, cwd=tmp_path)
    assert unlocked.code == 1
    assert "hint: run `mfbuild lock --images`" in unlocked.err
    assert mfbuild("lock", "--images", *AMD64, "--base", "other", cwd=tmp_path).code == 0
    (bundle,) = mfbuild.package("flow.py", "--base", "other", *AMD64, cwd=tmp_path)
    source, _, _ = reference.removeprefix("oci:").partition("@")
    base = layers(source, "end")
    assert layers(bundle["path"], "end")[: len(base)] == base
    assert mfbuild("verify", bundle["path"], cwd=tmp_path).code == 0


def test_an_image_that_names_no_python_needs_a_folder(
    mfbuild: Runner, tmp_path: Path, reference: str
) -> None:
    write_flow(tmp_path)
    done = mfbuild("package", "flow.py", "--base", reference, *AMD64, cwd=tmp_path)
    assert done.code == 2
    assert "does not say which Python it holds" in done.err


def test_an_image_by_tag_is_refused(mfbuild: Runner, tmp_path: Path) -> None:
    decorated = FLOW.replace(
        "    @step\n    def end", '    @kubernetes(image="python:3.11")\n    @step\n    def end'
    ).replace("pypi, step", "kubernetes, pypi, step")
    write_flow(tmp_path, {"flow.py": decorated})
    done = mfbuild("package", "flow.py", *AMD64, cwd=tmp_path)
    assert done.code == 1
    assert "step `end` asks for the image `python:3.11`, which is not pinned by digest" in done.err
