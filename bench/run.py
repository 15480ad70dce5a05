"""`mfbuild run` against `python flow.py run`; the CPU of one step; the time that compiling takes.

Everything is packaged, and the image laid out, before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timing import Timed, in_turn, table, times

ITEMS, STEPS = 200, 100
RUN = "flyte-bench"
THREE = """
from metaflow import FlowSpec, step


class ThreeFlow(FlowSpec):
    @step
    def start(self):
        self.x = 1
        self.next(self.middle)

    @step
    def middle(self):
        self.x += 1
        self.next(self.end)

    @step
    def end(self):
        print(self.x)


if __name__ == "__main__":
    ThreeFlow()
"""
WIDE = f"""
from metaflow import FlowSpec, step


class WideFlow(FlowSpec):
    @step
    def start(self):
        self.items = list(range({ITEMS}))
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.x = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        print(self.x)


if __name__ == "__main__":
    WideFlow()
"""
COMPILING = """
import json, sys, time
from mfbuild.flow.codec import from_public_json
spec = from_public_json(json.load(sys.stdin))
began = time.perf_counter()
from mfbuild.flyte.compile import compile_flow
compile_flow(spec).encode()
print(time.perf_counter() - began)
"""


def long_flow() -> str:
    """A linear flow of STEPS steps."""
    names = ["start", *(f"s{n}" for n in range(1, STEPS - 1)), "end"]
    lines = ["from metaflow import FlowSpec, step", "", "", "class LongFlow(FlowSpec):"]
    for name, after in zip(names, [*names[1:], None], strict=True):
        body = f"self.next(self.{after})" if after else "pass"
        lines += ["    @step", f"    def {name}(self):", f"        {body}", ""]
    return "\n".join([*lines, "", 'if __name__ == "__main__":', "    LongFlow()", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=9)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Metaflow wants to know who runs it, and a container has no $USER.
        os.environ.update(METAFLOW_USER="bench", METAFLOW_DATASTORE_SYSROOT_LOCAL=name)
        (folder / "BUILD.toml").touch()
        flows = {"three.py": THREE, "wide.py": WIDE, "long.py": long_flow()}
        for file, text in flows.items():
            (folder / file).write_text(text)
        rows = [
            *against_metaflow(folder, "three.py", (), runs, "0.5"),
            *against_metaflow(folder, "wide.py", ("--max-workers=2",), max(1, runs // 3), "0.25"),
            *step_cpu(folder, runs),
            *compiling(folder, runs),
        ]
    print(table(rows, ["what", "min / median"]))


def against_metaflow(
    folder: Path, flow: str, options: Sequence[str], runs: int, bar: str
) -> list[list[str]]:
    """Rows of a warm run of `flow` both ways: wall seconds, and the median of their ratios."""
    ours = Timed(
        f"mfbuild run {flow}", [sys.executable, "-m", "mfbuild", "run", "-q", flow, *options],
        cwd=str(folder),
    )  # fmt: skip
    more = ("--max-num-splits=300",) if options else ()
    theirs = Timed(
        f"python {flow} run", [sys.executable, flow, "run", *options, *more], cwd=str(folder)
    )
    in_turn([ours, theirs], runs)
    ratios = [a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    return [
        [f"{ours.name}, s", times(ours)],
        [f"{theirs.name}, s", times(theirs)],
        [f"{flow}: ratio (bar {bar})", figures(ratios)],
    ]


def step_cpu(folder: Path, runs: int) -> list[list[str]]:
    """Rows of the CPU seconds of one step by the runtime, and by Metaflow's own command line."""
    first, *steps = metaflows_own()
    for command in (first, steps[0]):
        cpu(command, folder, {})
    ours, env = by_the_runtime(folder)
    rounds = [(cpu(ours, folder, env), cpu(steps[1], folder, {})) for _ in range(runs + 1)][1:]
    return [
        ["one step by the runtime, CPU s", figures([a for a, _ in rounds])],
        ["python three.py step, CPU s", figures([b for _, b in rounds])],
        ["one step: CPU s more (bar 0.15)", figures([a - b for a, b in rounds])],
    ]


def metaflows_own() -> list[list[str]]:
    """The commands that a scheduler gives Metaflow for `init`, `start` and `middle`."""
    from mfbuild.runtime.ids import parameters_id, task_id

    start, middle = (task_id(RUN, step, (), 0) for step in ("start", "middle"))
    first = parameters_id(start)
    flow = [sys.executable, "three.py", "--quiet", "--no-pylint"]
    made = [[*flow, "init", f"--run-id={RUN}", f"--task-id={first}"]]
    parents = (f"_parameters/{first}", f"start/{start}")
    for step, task, parent in zip(("start", "middle"), (start, middle), parents, strict=True):
        made.append(
            [*flow, "step", step, f"--run-id={RUN}", f"--task-id={task}", "--retry-count=0",
             f"--input-paths={RUN}/{parent}", "--max-user-code-retries=0"]
        )  # fmt: skip
    return made


def by_the_runtime(folder: Path) -> tuple[list[str], dict[str, str]]:
    """What a container runs for `middle`, and its variables."""
    from mfbuild.engine.store import Store
    from mfbuild.local.sandbox.runtime_tree import lay_runtime

    bundle = packaged(folder, "three.py")
    digest = manifest(bundle)["code"]["digest"].partition(":")[2]
    code = f"{bundle}/blobs/sha256/{digest}#sha256={digest}"
    with Store.open(folder / "store") as store:
        library = lay_runtime(store) / "lib"
    env = {"PYTHONPATH": str(library), "MFBUILD_FLOW_FILE": "three.py",
           "MFBUILD_WORKDIR": str(folder)}  # fmt: skip
    module = [sys.executable, "-m", "mfbuild_runtime"]
    return [*module, "middle", "--code", code, "--run", RUN], env


def packaged(folder: Path, flow: str) -> Path:
    """The bundle of a flow."""
    command = [sys.executable, "-m", "mfbuild", "package", "-q", flow]
    return Path(subprocess.check_output(command, cwd=folder, text=True).strip())


def manifest(bundle: Path) -> Any:
    return json.loads((bundle / "bundle.json").read_text())


def cpu(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> float:
    """CPU seconds of a command and all its children."""
    whole = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **env}
    process = subprocess.Popen(command, cwd=folder, env=whole, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"`{' '.join(command)}` ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def compiling(folder: Path, runs: int) -> list[list[str]]:
    """A row of the seconds that a flow of STEPS steps takes from FlowSpec to templates."""
    spec = json.dumps(manifest(packaged(folder, "long.py"))["spec"])
    command = [sys.executable, "-c", COMPILING]
    found = [float(subprocess.check_output(command, input=spec, text=True)) for _ in range(runs)]
    return [[f"compiling {STEPS} steps, imports and all, s (bar 0.2)", figures(found)]]


def figures(values: Sequence[float]) -> str:
    return f"{min(values):.3f} / {statistics.median(values):.3f}"


if __name__ == "__main__":
    main()
