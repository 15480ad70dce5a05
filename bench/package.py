"""`mfbuild package` again, and after one changed line, against Metaflow and a bare interpreter."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from timing import Timed, in_turn, table, times

STEPS = 10


def flow_text(number: int) -> str:
    """A linear flow of ten steps; `number` is the line that changes."""
    names = ["start", *(f"s{n}" for n in range(1, STEPS - 1)), "end"]
    lines = ["from metaflow import FlowSpec, step", "", "", "class TenFlow(FlowSpec):"]
    for name, after in zip(names, [*names[1:], None], strict=True):
        lines += ["    @step", f"    def {name}(self):", f"        self.x = {number}"]
        lines += [f"        self.next(self.{after})"] if after else []
        lines += [""]
    return "\n".join([*lines, "", 'if __name__ == "__main__":', "    TenFlow()", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        flow = Path(name) / "flow.py"
        flow.write_text(flow_text(0))
        package = [sys.executable, "-m", "mfbuild", "package", "-q", str(flow)]
        again = Timed("mfbuild package, nothing changed", package, cwd=name)
        bare = Timed("python -c pass", [sys.executable, "-c", "pass"], cwd=name)
        in_turn([again, bare], runs)
        count = iter(range(1, 1000))

        def change() -> None:
            flow.write_text(flow_text(next(count)))

        changed = Timed("mfbuild package, one line changed", package, change, cwd=name)
        # Metaflow wants to know who runs it, and a container has no $USER.
        user = {"METAFLOW_USER": "bench"}
        show = Timed("python flow.py show", [sys.executable, str(flow), "show"], change, user, name)
        in_turn([changed, show], runs)
    rows = [[t.name, times(t)] for t in (bare, again, show, changed)]
    rows.append(
        ["unchanged: seconds over `python -c pass` (bar 0.15)", f"{again.median - bare.median:.3f}"]
    )
    rows.append(
        ["changed: ratio to `python flow.py show` (bar 1.5)", f"{changed.median / show.median:.2f}"]
    )
    print(table(rows, ["what", "min / median s"]))


if __name__ == "__main__":
    main()
