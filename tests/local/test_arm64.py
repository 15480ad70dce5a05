"""A step in its image for linux/arm64: native wheels, interpreter and libc, in QEMU's user mode."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from mfbuild.bundle.read import read_bundle
from mfbuild.engine.store import Store
from mfbuild.local.sandbox.executor import IMAGE_PYTHON
from mfbuild.local.sandbox.images import StepImages
from mfbuild.local.sandbox.mounts import Bind
from mfbuild.local.sandbox.rootfs import RootfsSandbox
from mfbuild.local.sandbox.runtime_tree import lay_runtime
from mfbuild.oci.types import Platform
from tests.e2e.conftest import Runner
from tests.local.compared import artifacts, settings

FLOW = """
import platform
from metaflow import FlowSpec, pypi, step

class ArmFlow(FlowSpec):
    @pypi(packages={"markupsafe": "3.0.2"})
    @step
    def start(self):
        from markupsafe._speedups import _escape_inner
        self.machine = platform.machine()
        self.text = _escape_inner("<arm>")
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    ArmFlow()
"""
ARM64 = Platform("linux", "arm64")


@pytest.mark.tools
def test_a_step_runs_in_its_image_for_arm64(mfbuild: Runner, tmp_path: Path) -> None:
    if platform.machine() in ("aarch64", "arm64"):
        pytest.skip("this machine runs such images as they are")
    qemu = shutil.which("qemu-aarch64-static")
    assert qemu, "qemu-aarch64-static is not installed (Debian's qemu-user-static has it)"
    (tmp_path / "flow.py").write_text(FLOW)
    (made,) = mfbuild.package("flow.py", "--platform", str(ARM64), cwd=tmp_path)
    bundle = read_bundle(Path(made["path"]))
    with Store.open(mfbuild.store) as store:
        images = StepImages(
            bundle=bundle,
            store=store,
            platform=ARM64,
            steps={"image": "start"},
            toolbox=lay_runtime(store),
            binds=(Bind(str(tmp_path), writable=True), Bind(qemu)),
            environ={**os.environ, **settings(tmp_path), "MFBUILD_FLOW_FILE": "flow.py"},
            note=lambda sentence: None,
        )
        launch = RootfsSandbox(images).launch(images.environment("image"), {})
        digest = bundle.manifest.code.digest.hex
        code = f"{made['path']}/blobs/sha256/{digest}#sha256={digest}"
        spec = Path(launch.argv[-1])
        step = ["-m", "mfbuild_runtime", "start", "--run", "flyte-arm", "--code", code]
        argv = [qemu, IMAGE_PYTHON, *step]
        spec.write_text(json.dumps({**json.loads(spec.read_text()), "argv": argv}))
        done = subprocess.run(launch.argv, env=dict(launch.env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = map(json.loads, artifacts(tmp_path, "flyte-arm")["start"])
    assert (found["machine"], found["text"]) == ("'aarch64'", "'&lt;arm&gt;'")
