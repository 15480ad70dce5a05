"""The child process that reads a flow: started, waited for, and ended with what it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mfbuild.engine.foreign import parse_json
from mfbuild.errors import FlowError, UsageError
from mfbuild.files import words_of

_PROBE = Path(__file__).with_name("probe.py")
_GRACE_SECONDS = 2.0


def ask(
    python: Path, request: dict[str, Any], env: Mapping[str, str], meanwhile: Callable[[], None]
) -> Any:
    """The probe's answer to `request`, from a child run by `python` with the environment `env`.

    The child's stdout goes to our stderr; its answer comes in a file without a name, which nobody
    has to remove. `meanwhile` is called once the child runs. UsageError if it cannot be started;
    FlowError if it ends without an answer.
    """
    with tempfile.TemporaryFile() as answer:
        text = json.dumps({**request, "answer": answer.fileno()})
        try:
            child = subprocess.Popen(
                [python, _PROBE, text],
                # What it reads from ends with this process, however that is ended.
                stdin=subprocess.PIPE,
                stdout=2,
                env=dict(env),
                pass_fds=(answer.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(f"cannot run the interpreter `{python}`: {words_of(error)}") from error
        try:
            meanwhile()
            status = child.wait()
        except BaseException:
            _end(child)
            raise
        finally:
            assert child.stdin is not None
            child.stdin.close()
        where = str(Path(request["flow"]).relative_to(request["workspace"]))
        try:
            answer.seek(0)
            found = parse_json(answer.read())
        except ValueError:  # no answer, or the beginning of one
            raise _no_answer(where, status) from None
        if not isinstance(found, dict) or {*found} != {"flow", "problems", "inputs"}:
            raise FlowError("the flow answers in place of what loads it", where=where)
        return found


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and what it started: politely, then not."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_SECONDS)
            return


def _no_answer(where: str, status: int) -> FlowError:
    if status == os.EX_IOERR:
        return FlowError(f"what was loaded cannot be written to `{tempfile.gettempdir()}`")
    if status >= 0:
        return FlowError(f"the flow ended its own process with status `{status}`", where=where)
    name = signal.strsignal(-status) or f"signal {-status}"
    return FlowError(f"the process that loads the flow was ended: `{name}`", where=where)
