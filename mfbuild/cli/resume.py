"""`mfbuild resume`: a run goes on where it failed."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.cli import options
from mfbuild.cli.runs import enter, packaged_for, perform, told, where
from mfbuild.errors import UsageError
from mfbuild.report import reporter

if TYPE_CHECKING:
    from mfbuild.local.record.state import RunInfo

EPILOG = """\
examples:
  mfbuild resume                      # the latest run of this workspace
  mfbuild resume r261105101500abcd
  mfbuild resume r261105101500abcd train.py
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Go on with a run that failed or was interrupted: what succeeded is kept, the rest runs "
        "with the flow as it is now. Attempts go on counting."
    )
    parser.epilog = EPILOG
    parser.add_argument("run", nargs="?", metavar="RUN", help="its name, run id, or folder")
    parser.add_argument(
        "flow", nargs="?", metavar="FLOW|BUNDLE", help="what to run (default: what it began with)"
    )
    where(parser)
    options.building(parser)
    options.cache_flags(parser)
    options.common(parser)


_ANEW = {"phase": "running", "ended": None, "node": None, "reason": None}


def run(args: argparse.Namespace) -> int:
    from mfbuild.local.record.state import RUNS, RunState, find_run, read_info

    warn = reporter(args.progress, quiet=args.quiet).warn
    folder = find_run(options.workspace_of([]) / RUNS, args.run, warn=warn)
    info = read_info(folder)
    if info.phase == "succeeded":
        raise UsageError(f"the run `{info.name}` has succeeded")
    if info.entity:
        return _registered(args, folder, info)
    word = args.flow or info.source
    root = folder.parents[2] if options.is_local_bundle(word) else options.workspace_of([word])
    with options.session_of(args, root) as session:
        sandbox = args.sandbox or info.sandbox
        source, packaged = packaged_for(session, word, sandbox, list(info.parameters.items()))
        if packaged.spec.name != info.flow:
            raise UsageError(f"the run is one of `{info.flow}`, not of `{packaged.spec.name}`")
        here = Path(info.here or Path.cwd())
        entered = enter(args, session, packaged, sandbox, folder, here)
        with RunState.reopen(folder) as state:
            changes = {"source": str(source), "version": packaged.version, "sandbox": sandbox}
            state.update(**_ANEW, **changes)
            perform(session, state, packaged, entered, json_wanted=args.json)
    return 0


def _registered(args: argparse.Namespace, folder: Path, info: RunInfo) -> int:
    """Go on with a run of what is registered, which does not change."""
    from mfbuild.local.embedded.process import perform_registered
    from mfbuild.local.record.state import RunState

    if args.flow:
        raise UsageError(
            f"the run is of the registered `{info.entity}@{info.version[:12]}`",
            hint=f"leave `{args.flow}` out, or trigger a version of it",
        )
    with options.session_of(args, folder.parents[2]) as session, RunState.reopen(folder) as state:
        began = time.monotonic()
        with state.recorded():
            state.update(**_ANEW, sandbox=args.sandbox or info.sandbox)
            perform_registered(
                state,
                session.store,
                session.reporter,
                session.config.environ,
                args.python.absolute(),
                args.max_workers or os.cpu_count() or 1,
            )
        told(session, state, None, began, json_wanted=args.json)
    return 0
