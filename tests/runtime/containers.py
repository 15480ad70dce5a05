"""Runs steps as a container would, on a local datastore: cold ones, and forks of a warm process."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flyteidl.core.errors_pb2 import ErrorDocument
from flyteidl.core.literals_pb2 import LiteralMap

import mfbuild.runtime
from mfbuild.flow.load import load_flow
from mfbuild.runtime.ids import task_id
from mfbuild.runtime.literals import Value, literal_map, read_literal, read_literal_map

FLOWS = Path(__file__).parents[1] / "flows"
RUN = "flyte-f1"
_HERE = Path(__file__).parent


def tarball(files: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """A compressed tar archive, with `more` members that have no content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in more:
            tar.addfile(info)
    return gzip.compress(buffer.getvalue(), mtime=0)


def packaged(flow: Path, cache: Path) -> bytes:
    """The code tarball of a flow with the very files that `mfbuild package` takes."""
    spec = load_flow(
        flow,
        workspace=flow.parent,
        python=Path(sys.executable),
        cache_dir=cache,
        env={"HOME": str(cache), "PATH": os.environ["PATH"]},
    ).spec
    return tarball(
        {
            f.arcname: Path(f.path).read_bytes() if f.path else (f.text or "").encode()
            for f in spec.code
        }
    )


@dataclass
class Containers:
    """The tasks of one run of a flow, which all share a folder."""

    folder: Path
    flow: str
    code: bytes
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "code.tgz").write_bytes(self.code)
        library = self.folder / "lib"
        library.mkdir()
        (library / "mfbuild_runtime").symlink_to(Path(mfbuild.runtime.__file__).parent)
        self.address = f"{self.folder / 'code.tgz'}#sha256={hashlib.sha256(self.code).hexdigest()}"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "USER": "tester",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.folder),
            "MFBUILD_WORKDIR": str(self.folder / "work"),
            "MFBUILD_FLOW_FILE": self.flow,
            "PYTHONPATH": str(self.folder / "lib"),
            "FLYTE_INTERNAL_EXECUTION_ID": RUN.removeprefix("flyte-"),
            **self.env,
        }

    def argv(self, task: str) -> list[str]:
        """The arguments of a task, of which `task` has the step and what is its own."""
        words = shlex.split(task)
        return [*words, "--code", self.address, "--output", str(self.output(task))]

    def output(self, task: str) -> Path:
        return self.folder / "out" / hashlib.sha256(task.encode()).hexdigest()[:8]

    def popen(self, task: str, attempt: int = 0, **env: str) -> subprocess.Popen[str]:
        """A container that is starting."""
        return subprocess.Popen(
            [sys.executable, "-m", "mfbuild_runtime", *self.argv(task)],
            env={**self.environ, "FLYTE_ATTEMPT_NUMBER": str(attempt), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, task: str, attempt: int = 0, **env: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of a container that has ended."""
        with self.popen(task, attempt, **env) as process:
            out, err = process.communicate()
        return process.returncode, out, err

    def inputs(self, values: Mapping[str, Value]) -> str:
        """The option that gives a task its inputs."""
        path = self.folder / "inputs.pb"
        path.write_bytes(literal_map(values))
        return f"--input {path}"

    def outputs(self, task: str) -> dict[str, Value]:
        """What a task has written to outputs.pb; nothing if there is none."""
        path = self.output(task) / "outputs.pb"
        data = path.read_bytes() if path.exists() else b""
        LiteralMap.FromString(data)
        return {name: read_literal(value) for name, value in read_literal_map(data).items()}

    def error(self, task: str) -> ErrorDocument:
        return ErrorDocument.FromString((self.output(task) / "error.pb").read_bytes())

    def warm(self, tasks: Sequence[str]) -> dict[str, list[str]]:
        """Run `tasks`, one after the other; the artifacts of the run's tasks, by step."""
        request = {"tasks": [self.argv(task) for task in tasks], "run": RUN}
        found: dict[str, list[str]] = self._last_line(
            [str(_HERE / "warm_process.py")], json.dumps(request)
        )
        return found

    def artifacts(self, run: str) -> dict[str, list[str]]:
        """The artifacts of the tasks of any run, by step."""
        found: dict[str, list[str]] = self._last_line([str(_HERE / "print_artifacts.py"), run])
        return found

    def client(self, expression: str) -> Any:
        """What an expression of Metaflow's client says, with the run as `run`."""
        code = (
            "import json, metaflow; metaflow.namespace(None);"
            f"run = next(iter(metaflow.Metaflow()))['{RUN}'];"
            f"print(json.dumps({expression}))"
        )
        return self._last_line(["-c", code])

    def _last_line(self, command: Sequence[str], given: str = "") -> Any:
        done = subprocess.run(
            [sys.executable, *command],
            input=given,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def task(step: str, *path: int, iteration: int = 0) -> str:
    """The id of a task of the run."""
    return task_id(RUN, step, path, iteration)
