"""A join in as little memory as a pod may have, reading from a real S3."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.cluster.build import program
from tests.cluster.engine import free_ports
from tests.cluster.memory import Memory, memory
from tests.cluster.namespace import namespace
from tests.cluster.propeller import start_storage
from tests.flyteadmin.s3 import S3Bucket, s3_bucket
from tests.runtime.containers import Containers, packaged, task

INPUTS, RUN_BODY = 100, 7
MIB = 1 << 20
JOINING = f"""
from metaflow import FlowSpec, step


class Joining(FlowSpec):
    @step
    def start(self):
        self.rows = list(range({INPUTS}))
        self.next(self.body, foreach="rows")

    @step
    def body(self):
        self.square = self.input**2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.square for i in inputs)
        print("total", self.total)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Joining()
"""


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """The containers of a run on S3 that has all but its join behind it."""
    if not program("versitygw").exists():
        pytest.skip("versitygw is not built (`scripts/test --cluster` builds it)")
    folder = tmp_path_factory.mktemp("joining")
    flow = folder / "joining.py"
    flow.write_text(JOINING)
    with namespace(folder) as space:
        bucket = start_storage(space, free_ports(1)[0])
        env = {
            **bucket.pod_environment(),
            "AWS_DEFAULT_REGION": "us-east-1",
            "METAFLOW_S3_ENDPOINT_URL": bucket.endpoint,
            "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{bucket.name}/metaflow",
            "MFBUILD_OPTIONS": '["--datastore=s3", "--metadata=local"]',
        }
        containers = Containers(folder / "run", flow.name, packaged(flow, folder / "cache"), env)
        containers.warm(["start", f"body --split {RUN_BODY}"])
        _repeat_body(s3_bucket(bucket))
        yield containers


def _repeat_body(bucket: S3Bucket) -> None:
    """Let all tasks of `body` have what the one that ran has left."""
    ran = f"/body/{task('body', RUN_BODY)}/"
    listed = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="metaflow/")["Contents"]
    for key in (found["Key"] for found in listed if ran in found["Key"]):
        for number in set(range(INPUTS)) - {RUN_BODY}:
            copy = key.replace(ran, f"/body/{task('body', number)}/")
            source = {"Bucket": bucket.name, "Key": key}
            bucket.client.copy_object(Bucket=bucket.name, Key=copy, CopySource=source)


def joined(containers: Containers, within: Memory, **env: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the join in a cgroup."""
    done = subprocess.run(
        [sys.executable, "-m", "mfbuild_runtime", *containers.argv(f"join --count {INPUTS}")],
        env={**containers.environ, **env},
        capture_output=True,
        text=True,
        preexec_fn=within.enter,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def limited(limit: int) -> Iterator[Memory]:
    """A cgroup with so much memory; skips where none can be made."""
    with ExitStack() as stack:
        try:
            made = stack.enter_context(memory("mfbuild-test", limit))
        except OSError as error:
            pytest.skip(f"no cgroup can be made here: {error}")
        yield made


def test_a_join_of_100_passes_in_a_gibibyte(split: Containers) -> None:
    with limited(1024 * MIB) as pod:
        code, out, err = joined(split, pod)
        assert code == 0, err
        assert f"total {INPUTS * RUN_BODY**2}" in out
        assert pod.peak < 350 * MIB


def test_a_step_that_runs_out_of_memory_is_told_what_to_write(split: Containers) -> None:
    with limited(384 * MIB) as pod:
        code, _, err = joined(split, pod, METAFLOW_S3_WORKER_COUNT="64")
    assert code
    assert "out of memory (OOMKilled)" in err
    assert "step `join`, which has 384 MiB" in err
    assert "`@resources(memory=768)`" in err
