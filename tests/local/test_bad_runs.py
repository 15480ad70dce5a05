"""What goes wrong around a run: a clear message, the right exit code, a record that can be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Runner, write_flow
from tests.local.compared import attempts, ours, settings

AMD64 = ("--platform", "linux/amd64")


def record(folder: Path) -> dict[str, Any]:
    """The run.json of the only run below `folder`."""
    (file,) = folder.glob(".mfbuild/runs/*/run.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_an_image_that_is_gone_from_its_bundle(mfbuild: Runner, tmp_path: Path) -> None:
    write_flow(tmp_path)
    (made,) = mfbuild.package("flow.py", *AMD64, cwd=tmp_path)
    copy = Path(shutil.copytree(made["path"], tmp_path / "copy"))
    layer = max((copy / "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    layer.unlink()
    other = Runner(tmp_path / "store")
    done = other("run", str(copy), cwd=tmp_path, **settings(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert f"error: blob `sha256:{layer.name}` is missing\n" in done.err
    assert record(tmp_path)["phase"] == "failed"
    assert layer.name in record(tmp_path)["reason"]
    assert attempts(tmp_path) == []


@pytest.mark.parametrize("again", ["0", "1"])
def test_a_datastore_that_does_not_answer(mfbuild: Runner, tmp_path: Path, again: str) -> None:
    """Metaflow is patient with one: how long can be set."""
    flow = write_flow(tmp_path)
    done = ours(
        mfbuild, flow, tmp_path, "--in", "host",
        METAFLOW_DEFAULT_DATASTORE="s3",
        METAFLOW_DATASTORE_SYSROOT_S3="s3://bucket/metaflow",
        METAFLOW_S3_ENDPOINT_URL="http://127.0.0.1:9",
        METAFLOW_S3_RETRY_COUNT="0",
        METAFLOW_S3_TRANSIENT_RETRY_COUNT=again,
        METAFLOW_S3_CLIENT_RETRY_CONFIG='{"total_max_attempts": 1, "mode": "standard"}',
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="very secret",
    )  # fmt: skip
    assert done.code == 1
    assert "error: step `start` failed: exit code 1\n  | " in done.err
    assert 'Could not connect to the endpoint URL: "http://127.0.0.1:9/bucket/metaflow/' in done.err
    assert "very secret" not in done.err
    assert (record(tmp_path)["phase"], record(tmp_path)["node"]) == ("failed", "start")
    (log,) = tmp_path.glob(".mfbuild/runs/*/nodes/start/0/log")
    told = {line for line in log.read_text().splitlines() if line.startswith("waiting for S3: ")}
    tries = {f"waiting for S3: try {number} has failed" for number in (1, 2)}
    assert told == (tries if again == "1" else set())


MANY = """
from metaflow import FlowSpec, step

class ManyFlow(FlowSpec):
    @step
    def start(self):
        self.items = range(1_000_000)
        self.next(self.body, foreach="items")
    @step
    def body(self):
        self.next(self.join)
    @step
    def join(self, inputs):
        self.next(self.end)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    ManyFlow()
"""


def test_outputs_of_10_mb(mfbuild: Runner, tmp_path: Path) -> None:
    flow = tmp_path / "flow.py"
    flow.write_text(MANY)
    done = ours(mfbuild, flow, tmp_path, "--in", "host")
    assert done.code == 1
    assert "more than the 2097152 that Flyte reads\n" in done.err
    assert record(tmp_path)["phase"] == "failed"
    assert attempts(tmp_path) == [("start", 0, "failed")]


FILLING = """
from pathlib import Path
from metaflow import FlowSpec, Parameter, step

class FillingFlow(FlowSpec):
    disk = Parameter("disk")

    @step
    def start(self):
        try:
            with Path(self.disk, "filler").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        except OSError as error:
            self.error = str(error)
        self.next(self.end)

    @step
    def end(self):
        assert "No space left on device" in self.error

if __name__ == "__main__":
    FillingFlow()
"""
# The disk is gone with the namespace: what is on it is copied out.
ON_A_DISK = """
mount -t tmpfs -o size=2m tmpfs disk
cp flow.py BUILD.toml disk
cd disk
"$@" run flow.py --in host --disk "$PWD" 2> ../first || test $? = 1
"$@" resume 2> ../second || test $? = 1
cp -r .mfbuild ../full
rm filler
"$@" resume 2> ../third
cp -r .mfbuild ../freed
"""


def test_a_full_disk_loses_nothing_of_a_run(mfbuild: Runner, tmp_path: Path) -> None:
    private = ("unshare", "--mount", "--map-root-user", "sh", "-euc")
    if subprocess.run([*private, "mount -t tmpfs tmpfs ."], cwd=tmp_path).returncode:
        pytest.skip("no disk can be mounted here")
    for name in ("disk", "full", "freed"):
        (tmp_path / name).mkdir()
    (tmp_path / "BUILD.toml").touch()
    (tmp_path / "flow.py").write_text(FILLING)
    done = subprocess.run(
        [*private, ON_A_DISK, "sh", sys.executable, "-m", "mfbuild"],
        cwd=tmp_path,
        env={**os.environ, "MFBUILD_STORE": str(mfbuild.store), **settings(tmp_path / "root")},
        capture_output=True,
        text=True,
    )
    first, second, third = ((tmp_path / n).read_text() for n in ("first", "second", "third"))
    assert done.returncode == 0, (done.stderr, first, second, third)
    for said in (first, second):
        assert "no space left on device" in said
        assert "Traceback" not in said
    assert record(tmp_path / "full")["phase"] != "succeeded"
    assert attempts(tmp_path / "full")[0] == ("start", 0, "succeeded")
    assert record(tmp_path / "freed")["phase"] == "succeeded"
    assert [a for a in attempts(tmp_path / "freed") if a[0] == "start"] == [
        ("start", 0, "succeeded")
    ]
