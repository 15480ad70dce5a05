"""The container's entry point: one attempt of one step."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from . import cgroups
from .arguments import Arguments, parse
from .code import Code, unpack
from .environment import metaflow_environment
from .errors import Failure, NonRecoverable
from .flow import enter, load, may_import_metaflow
from .logs import Shipper
from .outcome import give_up
from .process import supervise
from .progress_pipe import Listener, Teller
from .step import Step, adapt
from .storage import Storage, Storages

_SIGNALS = 128
_MISSING = "ModuleNotFoundError: "
_HAS = (
    b"hint: a step's image has Metaflow, the packages of its @pypi and the code beside the flow\n"
)
_ENDED_ITSELF = b"error: the step has ended its own process: let it return instead of sys.exit()\n"


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 done or given up (error.pb), 1 failed, 2 wrong usage, 143 after SIGTERM."""
    end_on_sigterm()
    return guarded(argv, _attempt)


def end_on_sigterm() -> None:
    """Process 1 of a container has no default action for it."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def guarded(argv: Sequence[str], attempt: Callable[[Arguments, Storage], int]) -> int:
    """The exit code of `attempt`; what the runtime itself finds wrong becomes a message."""
    try:
        arguments = parse(argv, os.environ)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    storage = Storages(os.environ)
    try:
        return attempt(arguments, storage)
    except NonRecoverable as error:
        return give_up(error, arguments, storage)
    except Failure as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def prepare(arguments: Arguments, storage: Storage) -> Code:
    """The unpacked code, with the environment set up for it."""
    code = unpack(arguments.code, storage.get, os.environ)
    added = metaflow_environment(arguments, code.folder, os.environ, cgroups.limits())
    os.environ.update(added)
    if root := os.environ.get("METAFLOW_DATASTORE_SYSROOT_LOCAL"):
        _keep_cards_in(Path(root, ".metaflow"), code.folder / ".metaflow")
    return code


def _keep_cards_in(datastore: Path, link: Path) -> None:
    """Let `link` lead to a local datastore: Metaflow puts cards into the `.metaflow` that it finds
    from the working folder upwards, wherever artifacts go; with METAFLOW_CARD_LOCALROOT nowhere."""
    with suppress(OSError):  # another step has made it, or may write there
        if link.is_symlink() and link.readlink() != datastore:
            link.unlink()
        link.symlink_to(datastore)


def flow_file(code: Code) -> Path:
    """The file that holds the flow."""
    return code.folder / os.environ.get("MFBUILD_FLOW_FILE", "flow.py")


def perform(
    arguments: Arguments, code: Code, storage: Storage, work: Callable[[Step], None]
) -> int:
    """The exit code of `work` in a process of its own, whose logs are shipped meanwhile."""
    _check_attempt(arguments)
    shipper = Shipper()

    def child(progress: int) -> int:
        work(Step(arguments, code, storage, Teller(progress)))
        sys.stderr.write("error: the flow file starts no flow\n")
        return 1

    listener = Listener(shipper)
    kills = cgroups.oom_kills()
    result = supervise(child, shipper.stdout, shipper.stderr, listener)
    if result == 0 and not listener.finished:
        shipper.stderr.feed(_ENDED_ITSELF)
        result = 1
    if result and shipper.stderr.end().strip().rpartition("\n")[2].startswith(_MISSING):
        shipper.stderr.feed(_HAS)
    if result and cgroups.oom_kills() > kills:
        shipper.stderr.feed(out_of_memory(arguments.step, cgroups.limits().memory).encode())
    shipper.finish()
    if arguments.run.task and 0 < result < _SIGNALS:
        # Metaflow's runtime, which has asked for this one attempt, decides on the next.
        message = f"step `{arguments.step}` ended with exit code {result}"
        if not shipper.started:  # nobody can read there what it said
            message += f"\n{shipper.stderr.end()}"
        raise NonRecoverable("TaskFailed", message)
    return result


def _attempt(arguments: Arguments, storage: Storage) -> int:
    code = prepare(arguments, storage)
    file = flow_file(code)
    enter(code.folder)
    if may_import_metaflow(file):
        import metaflow  # noqa: F401 - before the fork: both processes need it

    def work(step: Step) -> None:
        def loaded(cli: Any, flow: Any) -> None:
            adapt(cli, code.folder)
            step.run(cli, flow)

        load(file, loaded)

    return perform(arguments, code, storage, work)


def out_of_memory(step: str, limit: int | None) -> str:
    """What people are told where the kernel has killed a process; `limit` in bytes."""
    has = f", which has {limit >> 20} MiB" if limit else ""
    wanted = limit >> 19 if limit else "…"
    return (
        f"error: out of memory (OOMKilled): the kernel has killed a process of step `{step}`{has}\n"
        f"hint: ask for more, in MB, above the step: `@resources(memory={wanted})`\n"
    )


def _check_attempt(arguments: Arguments) -> None:
    """Metaflow ignores what an attempt past its limit writes."""
    if not arguments.attempt:
        return
    from metaflow.metaflow_config import MAX_ATTEMPTS

    if arguments.attempt >= MAX_ATTEMPTS:
        raise NonRecoverable(
            "TooManyAttempts",
            f"attempt {arguments.attempt} of step `{arguments.step}` is past the {MAX_ATTEMPTS} "
            "that Metaflow keeps (Flyte's own retries after lost pods count too)",
        )
