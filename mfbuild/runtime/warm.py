"""A process that has imported metaflow and a flow once, and runs attempts in forks of itself."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from .arguments import Arguments, parse
from .flow import enter, load
from .main import end_on_sigterm, flow_file, guarded, perform, prepare
from .step import Step, adapt
from .storage import Storage

# What a step imports only once it runs.
_LATER = ("ctypes", "metaflow.cli_components.step_cmd")
_NOBODYS = (sys.stdlib_module_names | {"metaflow", "mfbuild_runtime"}) - {"sys", "builtins"}
"""Modules that hold nothing of the user's, by the first part of their names."""

Run = Callable[[Sequence[str], Mapping[str, str]], NoReturn]
"""(argv, environ): what `main` does, in a fork of the warm process, which it ends."""


def key(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[object, ...]:
    """Attempts of equal keys may share a warm process: code, run and all that imports can see.

    Flyte's own variables differ from task to task, and no flow's imports should look at them.
    """
    arguments = parse(argv, environ)
    seen = sorted((k, v) for k, v in environ.items() if not k.startswith("FLYTE_"))
    return arguments.code, arguments.run.id, arguments.person, tuple(seen)


def serve(argv: Sequence[str], then: Callable[[Run], None]) -> int:
    """Import all that attempts like the one of `argv` and os.environ need, then call `then`.

    `then` forks, and calls what it was given in the child, where it must let SystemExit pass. It
    must not return. `serve` does, with an exit code, only where the flow cannot be loaded.
    """

    def loaded(folder: Path, cli: Any, flow: Any) -> None:
        def run(argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
            os.environ.clear()
            os.environ.update(environ)
            _reseed()
            end_on_sigterm()
            # A client of its own: forks must not talk through one connection.
            code = guarded(argv, lambda arguments, storage: _again(arguments, storage, cli, flow))
            sys.stderr.flush()
            os._exit(code)  # what imports have registered for the end runs in the step's process

        adapt(cli, folder)
        for name in _LATER:
            import_module(name)
        version: Any = import_module("metaflow.metaflow_version")
        version.get_version()  # it asks git, and keeps the answer
        opened.extend(_files())
        gc.freeze()  # as before each fork
        then(run)

    def attempt(arguments: Arguments, storage: Storage) -> int:
        code = prepare(arguments, storage)
        enter(code.folder)
        file = flow_file(code)
        load(file, partial(loaded, code.folder))
        sys.stderr.write(f"error: `{file.name}` starts no flow\n")
        return 1

    opened: list[Any] = []
    atexit.register(_end, opened)  # first, and so the last to be called
    return guarded(argv, attempt)


def _end(opened: Sequence[Any]) -> None:
    """Do what the end of an interpreter does for the user, and keep it from doing more.

    What was there before the fork is frozen, and so no file of it would be flushed. And to take
    apart modules, all of which a fork has to copy first, is a third of the time of a small step.
    """
    for file in (*opened, *_files()):
        with contextlib.suppress(Exception):  # one that is closed, or has lost its reader
            file.flush()
    names = [name for name in sys.modules if name.partition(".")[0] in _NOBODYS]
    kept: list[object] = [sys.modules.pop(name) for name in names]
    kept.append(kept)  # what no collection sees is not freed, if it refers to itself
    gc.freeze()


def _files() -> list[Any]:
    """The files that somebody has open, of those that are not frozen."""
    kind: Any = io.IOBase.__base__  # an abstract class takes its time to say what belongs to it
    return [found for found in gc.get_objects() if issubclass(type(found), kind)]


def has_threads() -> bool:
    """Whether imports have started threads, of which no fork would have any: better stay cold."""
    import threading

    tasks = Path("/proc/self/task")
    known = len(list(tasks.iterdir())) if tasks.is_dir() else 0
    return max(known, threading.active_count()) > 1


def _again(arguments: Arguments, storage: Storage, cli: Any, flow: Any) -> int:
    code = prepare(arguments, storage)

    def work(step: Step) -> None:
        step.run(cli, flow)

    return perform(arguments, code, storage, work)


def _reseed() -> None:
    """Else every fork draws the same numbers; Python's own generator sees to itself."""
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
