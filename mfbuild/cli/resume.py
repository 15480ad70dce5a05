"""`mfbuild resume`: a run goes on where it failed."""

from __future__ import annotations

import argparse

from mfbuild.cli import options
from mfbuild.cli.run import enter, is_bundle, packaged_for, perform, where

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


def run(args: argparse.Namespace) -> int:
    from mfbuild.errors import UsageError
    from mfbuild.local.state import RUNS, RunState, find_run, read_info

    folder = find_run(options.workspace_of([]) / RUNS, args.run)
    info = read_info(folder)
    if info.phase == "succeeded":
        raise UsageError(f"the run `{info.name}` has succeeded")
    word = args.flow or info.source
    root = folder.parents[2] if is_bundle(word) else options.workspace_of([word])
    with options.session_of(args, root) as session:
        place = args.place or info.place
        source, packaged = packaged_for(session, word, place, list(info.parameters.items()))
        if packaged.spec.name != info.flow:
            raise UsageError(f"the run is one of `{info.flow}`, not of `{packaged.spec.name}`")
        entered = enter(args, session, packaged, place, folder)
        with RunState.reopen(folder) as state:
            changes = {"source": str(source), "version": packaged.version, "place": place}
            state.update(phase="running", ended=None, node=None, reason=None, **changes)
            perform(session, state, packaged, entered, json_wanted=args.json)
    return 0
