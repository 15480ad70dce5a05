"""`mfbuild logs`: what the tasks of an execution have written."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.cli import options, targets
from mfbuild.errors import UsageError, did_you_mean
from mfbuild.flyte.names import base_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mfbuild.build.session import Session
    from mfbuild.flyte.backend import ExecutionId
    from mfbuild.push.target import PushTarget

_POLL = 0.5
EPILOG = """\
examples:
  mfbuild logs r261125-k3fa
  mfbuild logs r261125-k3fa fit --follow
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print what the tasks of an execution wrote, `step/task: line`, from Metaflow's datastore, "
        "where it is also while they run."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "execution",
        metavar="EXECUTION",
        help="its name, or Metaflow's run id; a run of `mfbuild run`, too",
    )
    parser.add_argument("step", nargs="?", metavar="STEP", help="only this step")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until the execution has ended"
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=Path(sys.executable),
        help="an interpreter that has Metaflow (default: the one that runs mfbuild)",
    )
    targets.arguments(parser)
    options.common(parser, json=False)


def run(args: argparse.Namespace) -> int:
    with options.session_of(args, options.workspace_of([])) as session:
        from mfbuild.executions.logs import logs_of, show_logs
        from mfbuild.push.record import metaflow_settings

        if folder := _run_here(args.execution, session.config.root):
            _show_run(args, folder, session.config.environ)
            return 0
        target, found = targets.execution(args, session)
        if args.step and found.is_done:
            _check_step(args.step, target, found.id)
        settings = metaflow_settings(session.config.domains[found.id.domain].metaflow)
        show_logs(
            args.python.absolute(),
            {**session.config.environ, **settings},
            logs_of(target.backend.executions, found, args.step),
            follow=_following(target, found.id) if args.follow else None,
            folder=_folder(target, session, found.id),
        )
    return 0


def _run_here(word: str, root: Path) -> Path | None:
    """The folder of the run that `mfbuild run` has made under this name; it is in no domain."""
    from mfbuild.local.record.state import RUN_JSON, RUNS, read_info

    folder = root / RUNS / word.rpartition("/")[2].removeprefix("flyte-")
    return folder if (folder / RUN_JSON).is_file() and not read_info(folder).entity else None


def _show_run(args: argparse.Namespace, folder: Path, environ: Mapping[str, str]) -> None:
    """Print the logs of a run of `mfbuild run`, from the datastore that it used."""
    from mfbuild.executions.logs import Logs, show_logs
    from mfbuild.local.record import lock as hold
    from mfbuild.local.record.state import read_info

    def until_its_end() -> None:
        while hold.is_held(folder):
            time.sleep(_POLL)

    info = read_info(folder)
    show_logs(
        args.python.absolute(),
        environ,
        Logs(info.flow, info.run, args.step),
        follow=until_its_end if args.follow else None,
        folder=Path(info.here or Path.cwd()),
    )


def _check_step(name: str, target: PushTarget, id: ExecutionId) -> None:
    """UsageError if an execution that has ended ran no step of this name."""
    ran = {base_name(task.task) for task in target.backend.executions.tasks(id)}
    if name not in ran:
        hint = did_you_mean(name, sorted(ran)) if ran else None
        raise UsageError(f"no step `{name}` has run in `{id.name}`", hint=hint)


def _folder(target: PushTarget, session: Session, id: ExecutionId) -> Path:
    """Where a local datastore is looked for: from where the run was started."""
    if not target.embedded:
        return Path.cwd()
    from mfbuild.local.record.state import RUNS, read_info

    return Path(read_info(session.config.root / RUNS / id.name).here or session.config.root)


def _following(target: PushTarget, id: ExecutionId) -> Callable[[], None]:
    from mfbuild.executions.trigger import wait

    def until_its_end() -> None:
        wait(target.backend.executions, id)

    return until_its_end
