"""The child that loads a flow: runs flow.py as `python flow.py` would, and answers with JSON.

Run by path with the user's interpreter, 3.8 or newer. The argument is the request:
{"flow", "workspace", "answer", "options", "datastores"}. The answer, {"flow", "inputs",
"problems"}, goes into the file that is open as `answer`, so that nothing the user prints disturbs
it. stdin ends with whoever asks; then this process does, with all that the flow has started.
"""

from __future__ import annotations

import sys

# Before any other import: a script's folder heads sys.path, and mfbuild's own must not.
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

import contextlib
import importlib.util
import json
import os
import runpy
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

_encode = json.JSONEncoder().encode  # the flow may replace `json.dumps`
_NEEDED = ("record", "describe", "cli", "explain", "code", "host", "parameters")


def main() -> None:
    _end_with_stdin()
    request = json.loads(sys.argv[1])
    os.set_inheritable(request["answer"], False)
    flow = request["flow"]
    for name in _NEEDED:  # before the flow can replace what they import
        _sibling(f"probe_{name}")
    sys.argv = [flow]
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, str(Path(flow).resolve().parent))
    recorder = _sibling("probe_record").Recorder(request["workspace"], str(Path(flow).parent))
    describe = _sibling("probe_describe").describe
    loading = _sibling("probe_cli").Loading(
        request,
        lambda state: describe(state, request, recorder, _sibling),
        _sibling("probe_explain"),
    )
    loading.install()
    recorder.install()
    try:
        runpy.run_path(flow, run_name="__main__")
        problems = loading.problems_of(None)
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException as error:  # SystemExit is how a flow ends
        problems = loading.problems_of(error)
    answer = {"flow": loading.flow, "problems": problems, "inputs": recorder.result()}
    _leave(request["answer"], answer)


def _end_with_stdin() -> None:
    """Have a process beside this one that ends this group when stdin does.

    It is nobody's child: the flow may wait for all of its own. The flow's stdin is empty.
    """
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        return
    if not os.fork():
        os.read(0, 1)
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _sibling(name: str) -> ModuleType:
    """A module of this folder, by its path."""
    if f"_mfbuild_{name}" in sys.modules:
        return sys.modules[f"_mfbuild_{name}"]
    spec = importlib.util.spec_from_file_location(
        f"_mfbuild_{name}", Path(__file__).resolve().with_name(f"{name}.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _leave(file: int, answer: dict[str, Any]) -> None:
    """Write the answer and end at once: the user's threads and exit handlers do not matter."""
    try:
        with os.fdopen(file, "w", encoding="ascii") as opened:
            opened.write(_encode(answer))
    except OSError:
        os._exit(os.EX_IOERR)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
