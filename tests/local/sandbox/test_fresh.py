"""A step's interpreter is what it would be in a fresh container, wherever it runs."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Runner
from tests.local.compared import artifacts, settings, theirs

FLOW = """
import datetime, json, locale, os, resource, sys, time
from metaflow import FlowSpec, environment, step

def see():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    umask = os.umask(0)
    os.umask(umask)
    return json.dumps(dict(
        zone=[time.tzname, str(datetime.datetime.fromtimestamp(0))],
        flags={n: getattr(sys.flags, n) for n in dir(sys.flags) if n[0] != "_"
               and isinstance(getattr(sys.flags, n), int) and n[:2] != "n_"},
        hash=hash("x"),
        locale=locale.setlocale(locale.LC_ALL),
        encodings=[sys.getfilesystemencoding(), sys.stdout.encoding, sys.stderr.encoding,
                   locale.getpreferredencoding(False)],
        warnings=sys.warnoptions,
        umask=umask,
        limits=[resource.getrlimit(n) for n in range(16)],
        # Signals 32 and 33 are libc's own, for threads.
        signals={n: int(status[n], 16) & ~(3 << 31) for n in ("SigIgn", "SigBlk", "SigCgt")},
        cwd=os.getcwd(),
        variables=dict(os.environ),
    ))

class FreshFlow(FlowSpec):
    @environment(vars=__VARS__)
    @step
    def start(self):
        self.seen = see()
        self.next(self.end)

    @step
    def end(self):
        self.seen = see()

if __name__ == "__main__":
    FreshFlow()
"""
VARIABLES = {
    "TZ": "Asia/Tokyo",
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONOPTIMIZE": "1",
    "PYTHONIOENCODING": "latin-1",
    "PYTHONWARNINGS": "ignore",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "3",
}
SAME = [
    *("zone", "flags", "hash", "locale", "encodings", "warnings", "umask", "limits", "signals"),
]
# The folder of the code, unpacked; in `python flow.py run` where that was called.
DIFFERENT = {"cwd"}
# What a run has of its own, and not a person's environment; see docs/security.md.
OURS = ("FLYTE_", "METAFLOW_", "MFBUILD_", "BATCH_", "PYTHONPATH", "PYTHONUNBUFFERED")
# What Metaflow sets for its own subprocesses, and the variables of mfbuild that no step gets.
ENDED = ("METAFLOW_", "MFBUILD_", "PYTHONUNBUFFERED", "MF_")


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # the caller's, so no image's
    (tmp_path / "flow.py").write_text(FLOW.replace("__VARS__", repr(VARIABLES)))
    return tmp_path / "flow.py"


def seen(run: str, root: Path, step: str) -> dict[str, Any]:
    """What a step of a run saw."""
    (found,) = map(json.loads, artifacts(root, run.strip())[step])
    value: dict[str, Any] = json.loads(ast.literal_eval(found["seen"]))
    return value


def by_mfbuild(mfbuild: Runner, flow: Path, step: str, *words: str, **env: str) -> dict[str, Any]:
    """The same of a run by mfbuild that nohup has started: nothing of that is a step's."""
    done = subprocess.run(
        [sys.executable, "-m", "mfbuild", "run", flow.name, "--platform", "linux/amd64", *words],
        cwd=flow.parent,
        env={**os.environ, "MFBUILD_STORE": str(mfbuild.store), **settings(flow.parent), **env},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert done.returncode == 0, done.stderr
    return seen(done.stdout, flow.parent, step)


def by_metaflow(flow: Path, step: str) -> dict[str, Any]:
    done = theirs(flow, flow.parent)
    assert done.code == 0, done.err
    (latest,) = flow.parent.glob(".metaflow/*/latest_run")
    return seen(latest.read_text(), flow.parent, step)


def agree(found: Mapping[str, Any], expected: Mapping[str, Any], *but: str) -> None:
    names = [name for name in SAME if name not in but]
    assert {n: found[n] for n in names} == {n: expected[n] for n in names}
    assert found.keys() - {*SAME, "variables"} == DIFFERENT
    assert VARIABLES.items() <= found["variables"].items()


def test_on_the_host_it_is_metaflow_s(mfbuild: Runner, flow: Path) -> None:
    found, expected = by_mfbuild(mfbuild, flow, "start", "--in", "host"), by_metaflow(flow, "start")
    assert found["zone"] == [["JST", "JST"], "1970-01-01 09:00:00"]
    agree(found, expected)
    more = found["variables"].keys() - expected["variables"].keys()
    assert [name for name in more if not name.startswith(OURS)] == []
    less = expected["variables"].keys() - found["variables"].keys()
    assert [name for name in less if not name.startswith(ENDED)] == []


def test_in_an_image_it_is_the_same(mfbuild: Runner, flow: Path) -> None:
    agree(by_mfbuild(mfbuild, flow, "start"), by_metaflow(flow, "start"))


def test_a_step_without_variables_of_its_own_has_the_image_s(mfbuild: Runner, flow: Path) -> None:
    """Nothing of the caller's that a process reads when it starts, and nothing of another step."""
    caller = {
        "TZ": "America/Lima",
        "LC_ALL": "POSIX",
        "PYTHONOPTIMIZE": "2",
        "OMP_NUM_THREADS": "9",
    }
    found = by_mfbuild(mfbuild, flow, "end", **caller)
    assert found["zone"][0] == ["UTC", "UTC"]
    assert found["flags"]["optimize"] == 0
    assert {name.lower() for name in found["encodings"]} == {"utf-8"}
    assert not {*caller, *VARIABLES} & found["variables"].keys()


@pytest.mark.tools
def test_runc_and_namespaces_agree(mfbuild: Runner, flow: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("runc needs root here")
    path = {"PATH": "/nowhere"}
    found = by_mfbuild(mfbuild, flow, "start", **path)
    expected = by_mfbuild(mfbuild, flow, "start", "--in", "container", **path)
    agree(found, expected)
    names = found["variables"].keys() ^ expected["variables"].keys()
    # Where bytecode is kept, which a container has none of.
    assert names == {"PYTHONPYCACHEPREFIX"}
