"""The logs of an execution: of the embedded backend's files, else of Metaflow's datastore."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from mfbuild.errors import FlyteError
from mfbuild.flow import probe_logs

_PROBE = Path(probe_logs.__file__)


def show_logs(
    python: Path,
    env: Mapping[str, str],
    *,
    flow: str,
    run: str,
    step: str | None,
    folder: Path,
    follow: Callable[[], None] | None = None,
) -> None:
    """Print the logs of a run's tasks to stdout, read by `python` under Metaflow's settings `env`.

    A datastore in files is the one that Metaflow would use in `folder`.

    With `follow`, goes on while that is at work, and prints what was written until it returned.
    FlyteError where the datastore cannot be read, BrokenPipeError where nobody reads stdout.
    """
    request = {"flow": flow, "run": run, "step": step, "follow": follow is not None}
    with subprocess.Popen(
        [python, _PROBE, json.dumps(request)],
        stdin=subprocess.PIPE,
        env=dict(env),
        cwd=folder,
        start_new_session=True,  # ^C is for us, who end it
    ) as child:
        try:
            if follow:
                follow()
            child.communicate()  # closes its stdin: it looks once more
        except BaseException:
            child.terminate()
            raise
    if child.returncode == -signal.SIGPIPE:
        raise BrokenPipeError
    if child.returncode:
        raise FlyteError(
            f"the logs of `{run}` cannot be read from Metaflow's datastore",
            hint="its settings are those of the domain in BUILD.toml, and the credentials yours",
        )
