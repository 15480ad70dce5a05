"""What people ask of `mfbuild run`: parameters, retries, resuming, single steps, ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.children import alive, wait_for, wait_until
from tests.e2e.conftest import Runner
from tests.local.compared import artifacts, attempts, ours, settings, theirs

FLOWS = Path(__file__).parents[1] / "flows"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace with all the test flows."""
    return Path(shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns(".*")))


PARAMETERS = """
from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, step

class Flow(FlowSpec):
    whole = Parameter("whole", default=3)
    ratio = Parameter("ratio", type=float, default=1)
    flag = Parameter("flag", default=True)
    no_default = Parameter("no-default", type=int)
    nothing = Parameter("nothing", type=str)
    needed = Parameter("needed", required=True)
    table = Parameter("table", type=JSONType, default='{"a": [1, null]}')
    listed = Parameter("listed", default="a,b", separator=",")
    included = IncludeFile("included", default="data.txt")
    packed = IncludeFile("packed", default="data.txt")
    a = Parameter("iteration", default=2)
    b = Parameter("path", default="a/b")
    c = Parameter("code", default="c")
    d = Parameter("größe", default=1.5)
    e = Parameter("_run", default="e")
    f = Parameter("Split", default=True)

    @step
    def start(self):
        self.text = self.included + self.packed
        self.next(self.end)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    Flow()
"""


def test_parameters_of_every_kind(mfbuild: Runner, tmp_path: Path) -> None:
    flow, included = tmp_path / "flow.py", tmp_path / "given.txt"
    flow.write_text(PARAMETERS)
    (tmp_path / "data.txt").write_text("packed")
    included.write_text("given")
    words = ["--needed", "-x y", "--whole", "-4", "--ratio=2.5", "--flag", "no", "--table", "[1]"]
    words += ["--included", str(included), "--no-default", "7"]
    words += ["--iteration", "9", "--code", "x", "--größe", "2", "--_run", "y"]
    done = ours(mfbuild, flow, tmp_path / "ours", *words, "--in", "host")
    assert done.code == 0, done.err
    own = theirs(flow, tmp_path / "theirs", *words)
    assert own.code == 0, own.err
    found = artifacts(tmp_path / "ours", done.out.strip())
    expected = artifacts(tmp_path / "theirs")
    assert "givenpacked" in found["start"][0]
    assert without_included(found) == without_included(expected)


def without_included(found: Mapping[str, list[str]]) -> dict[str, list[dict[str, str]]]:
    """All artifacts but those that hold where an included file was stored."""
    kept: dict[str, list[dict[str, str]]] = {}
    for step, tasks in found.items():
        names = [json.loads(task) for task in tasks]
        kept[step] = [
            {n: v for n, v in t.items() if n not in ("included", "packed")} for t in names
        ]
    return kept


RETRIED = """
from metaflow import FlowSpec, catch, current, retry, step, timeout
import time

class Flow(FlowSpec):
    @step
    def start(self):
        self.next(self.a, self.b, self.c)
    @retry(times=2, minutes_between_retries=0)
    @step
    def a(self):
        self.attempt = current.retry_count
        if current.retry_count < 2:
            raise ValueError("not yet")
        self.next(self.join)
    @catch(var="failure", print_exception=False)
    @retry(times=1, minutes_between_retries=0)
    @step
    def b(self):
        raise ValueError("never")
        self.next(self.join)
    @catch(var="failure", print_exception=False)
    @timeout(seconds=1)
    @step
    def c(self):
        time.sleep(60)
        self.next(self.join)
    @step
    def join(self, inputs):
        self.attempt = inputs.a.attempt
        self.failures = [str(i.failure.type) for i in (inputs.b, inputs.c)]
        self.next(self.end)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    Flow()
"""


def test_retries_and_catch_end_as_metaflow_s_do(mfbuild: Runner, tmp_path: Path) -> None:
    flow = tmp_path / "flow.py"
    flow.write_text(RETRIED)
    done = ours(mfbuild, flow, tmp_path / "ours", "--in", "host")
    assert done.code == 0, done.err
    own = theirs(flow, tmp_path / "theirs")
    assert own.code == 0, own.err
    found = artifacts(tmp_path / "ours", done.out.strip())
    expected = artifacts(tmp_path / "theirs")
    for step in ("start", "a", "join", "end"):  # an exception holds the path of its file
        assert found[step] == expected[step]
    ended = attempts(tmp_path)
    assert [e for e in ended if e[0] == "a"] == [
        ("a", 0, "failed"),
        ("a", 1, "failed"),
        ("a", 2, "succeeded"),
    ]
    assert [e for e in ended if e[0] == "b"] == [("b", 0, "failed"), ("b", 1, "succeeded")]


FAILING = """
from metaflow import FlowSpec, current, step
from pathlib import Path

class Flow(FlowSpec):
    @step
    def start(self):
        self.items = [1, 2, 3]
        self.next(self.body, foreach="items")
    @step
    def body(self):
        self.x = self.input
        assert self.input != {bad}, "bad item"
        self.next(self.join)
    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)
    @step
    def end(self):
        print("sum", self.x)

if __name__ == "__main__":
    Flow()
"""


def failing(folder: Path, bad: int | None = None) -> Path:
    """The flow FAILING in a file, failing at the item `bad`."""
    flow = folder / "flow.py"
    flow.write_text(FAILING.replace("{bad}", repr(bad)))
    return flow


def test_a_failed_run_names_the_step_and_resumes_with_mended_code(
    mfbuild: Runner, tmp_path: Path
) -> None:
    flow = failing(tmp_path, 2)
    done = ours(mfbuild, flow, tmp_path, "--in", "host", "--max-workers", "1")
    assert done.code == 1
    assert "error: step `body 1` failed: exit code 1\n" in done.err
    assert "  | AssertionError: bad item" in done.err
    assert done.out == ""
    (command,) = [line for line in done.err.splitlines() if "mfbuild resume" in line]
    words = command.partition("mfbuild ")[2].split()
    failing(tmp_path)
    again = mfbuild(*words, cwd=tmp_path, METAFLOW_DATASTORE_SYSROOT_LOCAL=str(tmp_path))
    assert again.code == 0, again.err
    found = artifacts(tmp_path, again.out.strip())
    assert "'x': '6'" in str([line.replace('"', "'") for line in found["end"]])
    ended = attempts(tmp_path)
    assert ended.count(("start", 0, "succeeded")) == 1
    assert ("body.0", 0, "succeeded") in ended
    assert ("body.1", 1, "succeeded") in ended
    assert ("body.0", 1, "succeeded") not in ended
    assert mfbuild(*words, cwd=tmp_path).code == 2
    assert mfbuild("resume", "nothing", cwd=tmp_path).code == 2


def test_mended_code_reaches_what_a_container_has_started(mfbuild: Runner, tmp_path: Path) -> None:
    """The body's tasks are in a futures.pb that names the code of before."""
    flow = tmp_path / "flow.py"
    second = (
        "self.next(self.second)\n    @step\n    def second(self):\n        self.x = self.x + {add}"
    )
    longer = FAILING.replace("self.next(self.join)", second + "\n        self.next(self.join)")
    flow.write_text(longer.replace("{bad}", "2").replace("{add}", "0"))
    first = ours(mfbuild, flow, tmp_path, "--in", "host", "--max-workers", "1")
    assert "error: step `body 1` failed" in first.err
    flow.write_text(longer.replace("{bad}", "99").replace("{add}", "10"))
    again = mfbuild("resume", cwd=tmp_path, **settings(tmp_path))
    assert again.code == 0, again.err
    assert ("start", 1, "succeeded") not in attempts(tmp_path)
    assert ("start.body-to-join-1.body", 1, "succeeded") in attempts(tmp_path)
    assert '"x": "36"' in artifacts(tmp_path, again.out.strip())["end"][0]


def test_wrong_parameters_are_all_told_before_anything_starts(
    mfbuild: Runner, folder: Path
) -> None:
    words = ("--whole", "x", "--ration", "1", "--flag", "maybe", "--included", "nowhere.txt")
    done = mfbuild("run", "parameters.py", *words, "--in", "host", cwd=folder)
    assert done.code == 2
    for line in (
        "error: parameter `--whole` must be a whole number, not `x`",
        "error: unknown option or parameter `--ration`",
        "  hint: did you mean `ratio`?",
        "error: parameter `--flag` must be true or false, not `maybe`",
        "error: parameter `--included` names no file: `nowhere.txt`",
        "error: parameter `--needed` is required",
    ):
        assert line in done.err
    assert not (folder / ".mfbuild/runs").exists()


def test_param_reaches_what_mfbuild_has_an_option_for(mfbuild: Runner, tmp_path: Path) -> None:
    flow = tmp_path / "flow.py"
    flow.write_text(
        "from metaflow import FlowSpec, Parameter, step\n"
        "class Flow(FlowSpec):\n"
        "    jobs = Parameter('jobs', type=int, default=1)\n"
        "    max = Parameter('max', type=int, default=1)\n"
        "    @step\n"
        "    def start(self):\n"
        "        assert (self.jobs, self.max) == (7, 8)\n"
        "        self.next(self.end)\n"
        "    @step\n"
        "    def end(self):\n"
        "        pass\n"
        "if __name__ == '__main__':\n"
        "    Flow()\n"
    )
    done = ours(mfbuild, flow, tmp_path, "--in", "host", "--param", "jobs=7", "--max", "8")
    assert done.code == 0, done.err
    warning = "`--jobs` is an option of mfbuild: `--param jobs=…` gives the flow's Parameter"
    assert warning not in done.err
    assert warning in ours(mfbuild, flow, tmp_path, "--in", "host", "--jobs", "7").err


def test_a_single_step_runs_again_on_the_latest_run(mfbuild: Runner, tmp_path: Path) -> None:
    flow = failing(tmp_path)
    first = ours(mfbuild, flow, tmp_path, "--in", "host")
    assert first.code == 0, first.err
    flow.write_text(flow.read_text().replace("sum(i.x", "10 + sum(i.x"))
    again = ours(mfbuild, flow, tmp_path, "--in", "host", "--step", "join")
    assert again.code == 0, again.err
    assert again.out == first.out
    assert attempts(tmp_path)[-1] == ("join", 1, "succeeded")
    assert '"x": "16"' in artifacts(tmp_path, again.out.strip())["join"][0]
    assert ours(mfbuild, flow, tmp_path, "--in", "host", "--step", "joint").code == 2


def test_a_pipe_without_a_reader_does_not_kill_a_step(mfbuild: Runner, tmp_path: Path) -> None:
    flow = failing(tmp_path, bad=99)
    ignored = "import signal; assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN"
    flow.write_text(flow.read_text().replace('print("sum", self.x)', ignored))
    done = ours(mfbuild, flow, tmp_path, "--in", "host")
    assert done.code == 0, done.err


def test_what_a_run_printed_is_in_its_logs(mfbuild: Runner, tmp_path: Path) -> None:
    flow = failing(tmp_path, bad=2)
    failed = ours(mfbuild, flow, tmp_path, "--in", "host")
    (run,) = (tmp_path / ".mfbuild/runs").iterdir()
    assert failed.code == 1
    logs = mfbuild("logs", run.name, "body", cwd=tmp_path, **settings(tmp_path))
    assert logs.code == 0 and "AssertionError: bad item" in logs.out
    failing(tmp_path, bad=99)
    again = mfbuild("resume", cwd=tmp_path, **settings(tmp_path))
    done = mfbuild("logs", again.out.strip(), "end", "-f", cwd=tmp_path, **settings(tmp_path))
    assert done.code == 0 and done.out.endswith(": sum 6\n")


def test_code_that_was_tampered_with_never_runs(mfbuild: Runner, tmp_path: Path) -> None:
    failing(tmp_path)
    words = ("--platform", "linux/amd64")
    (bundle,) = mfbuild.package("flow.py", *words, cwd=tmp_path)
    copy = Path(shutil.copytree(bundle["path"], tmp_path / "copy"))
    manifest = json.loads((copy / "bundle.json").read_text())
    for name in ("code", "flyte"):
        blob = copy / "blobs/sha256" / manifest[name]["digest"].partition(":")[2]
        data = blob.read_bytes()
        blob.unlink()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        done = mfbuild("run", str(copy), "--in", "host", cwd=tmp_path)
        assert done.code == 1
        assert "has changed" in done.err
        blob.write_bytes(data)
    done = mfbuild("run", str(copy), "--in", "host", cwd=tmp_path, **settings(tmp_path))
    assert done.code == 0, done.err


def test_a_datastore_that_cannot_be_reached(mfbuild: Runner, tmp_path: Path) -> None:
    flow = failing(tmp_path)
    (tmp_path / "file").touch()
    env = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(tmp_path / "file")}
    done = mfbuild("run", "flow.py", "--in", "host", cwd=tmp_path, **env)
    assert done.code == 1
    assert "error: the local datastore cannot be made: not a directory\n" in done.err
    env = {"METAFLOW_DEFAULT_DATASTORE": "azure", "METAFLOW_DATASTORE_SYSROOT_AZURE": "nowhere/x"}
    done = ours(mfbuild, flow, tmp_path, "--in", "host", **env)
    assert done.code == 1
    assert "error: step `start` failed: exit code 1\n  | " in done.err


SLOW = """
import os, time
from metaflow import FlowSpec, step

class Flow(FlowSpec):
    @step
    def start(self):
        with open(PID, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
        self.next(self.end)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    Flow()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_step_outlives_the_run(mfbuild: Runner, tmp_path: Path, number: signal.Signals) -> None:
    pid = tmp_path / "pid"
    (tmp_path / "flow.py").write_text(SLOW.replace("PID", repr(str(pid))))
    process = subprocess.Popen(
        [sys.executable, "-m", "mfbuild", "run", "flow.py", "--in", "host"],
        cwd=tmp_path,
        env={**os.environ, "MFBUILD_STORE": str(mfbuild.store), **settings(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    wait_for(pid)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert (b"error: interrupted" in said) is (number != signal.SIGKILL)
    wait_until(lambda: not alive(int(pid.read_text())))
    (record,) = tmp_path.glob(".mfbuild/runs/*/run.json")
    phase = json.loads(record.read_text())["phase"]
    assert phase == ("running" if number == signal.SIGKILL else "interrupted")


def test_a_run_goes_on_in_its_own_datastore_wherever_it_is_resumed(
    mfbuild: Runner, tmp_path: Path
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
    failing(here, 2)
    env = {"METAFLOW_USER": "ada"}
    assert mfbuild("run", "flow.py", "--in", "host", cwd=here, **env).code == 1
    failing(here)
    (run,) = here.glob(".mfbuild/runs/*")
    done = mfbuild("resume", run, cwd=elsewhere, **env)
    assert done.code == 0, done.err
    assert list(elsewhere.iterdir()) == []
