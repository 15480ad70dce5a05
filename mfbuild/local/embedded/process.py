"""The process that performs one execution, and lives on without whoever has started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mfbuild.engine.signals import terminable
from mfbuild.engine.store import Store
from mfbuild.errors import FlyteError, Interrupted, MfbuildError
from mfbuild.files import disk_error
from mfbuild.local.embedded.files import FLYTE, BackendFiles
from mfbuild.local.embedded.registrations import EmbeddedRegistrations
from mfbuild.local.embedded.requests import runnable
from mfbuild.local.record import lock as hold
from mfbuild.local.record.state import RunState
from mfbuild.report import PlainReporter

OUTPUT = "output"
_MAIN = Path(__file__).with_name("__main__.py")


def spawn(folder: Path, lock: int, store: Path, environ: Mapping[str, str]) -> None:
    """Start the process that performs the run in `folder`, and give it the lock of that.

    It is a session of its own, and nobody's child, before this returns. FlyteError.
    """
    command = [sys.executable, str(_MAIN), str(folder), str(lock), str(store)]
    try:
        with (folder / OUTPUT).open("ab") as output:
            code = subprocess.Popen(
                command,
                cwd=folder.parents[2],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                start_new_session=True,
            ).wait()
    except OSError as error:
        raise disk_error(FlyteError, "the run cannot be started", error, folder) from error
    finally:
        os.close(lock)
    if code:
        raise FlyteError("the run cannot be started", where=str(folder / OUTPUT))


def main(folder: Path, lock: int, store: Path, environ: Mapping[str, str]) -> None:
    """Perform the run in `folder`; how that ends is in its record."""
    reporter = PlainReporter(sys.stderr)
    try:
        with terminable(), RunState.adopt(folder, lock) as state, state.recorded():
            if hold.cause_of(folder) is not None:
                raise Interrupted("ended before it began")
            state.update(phase="running")
            with Store.open(store) as opened:
                python, workers = Path(sys.executable), os.cpu_count() or 1
                perform_registered(state, opened, reporter, environ, python, workers)
    except MfbuildError as error:
        reporter.note(f"error: {error}")


def perform_registered(
    state: RunState,
    store: Store,
    reporter: PlainReporter,
    environ: Mapping[str, str],
    python: Path,
    workers: int,
) -> None:
    """Run what `state` is the record of, a run of what is registered, as far as it is not done."""
    # Who starts a run, or asks how it stands, needs none of these.
    from mfbuild.local.perform import perform
    from mfbuild.local.sandbox.choose import RunOptions, choose_sandbox

    root = state.folder.parents[2]
    registrations = EmbeddedRegistrations(BackendFiles(root / FLYTE), {}, reporter.warn)
    found = runnable(state.folder, registrations)
    request = RunOptions(
        sandbox=state.info.sandbox,
        workers=min(workers, found.parallelism or workers),
        python=python,
        environ={**environ, **found.settings},
        here=Path(state.info.here or root),
    )
    sandbox = choose_sandbox(found.packaged, request, state.folder, store, reporter)
    perform(state, found, request, sandbox, reporter)
