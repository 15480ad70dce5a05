"""Loads a flow as `python flow.py` would, and takes over where Metaflow's command line begins."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Then = Callable[[Any, Any], None]


def enter(folder: Path) -> None:
    """Make `folder` what a script's folder is to it: the working one, and first of sys.path."""
    os.chdir(folder)
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the working folder before, which `python -m` put there
    sys.path.insert(0, str(folder))
    modules = folder / ".mf_code"
    if modules.is_dir():
        sys.path.insert(1, str(modules))


def may_import_metaflow(file: Path) -> bool:
    """Whether metaflow reads the same settings before the flow runs: the flow sets none itself."""
    return b"METAFLOW_" not in file.read_bytes()


def load(file: Path, then: Then) -> None:
    """Run the flow file as `__main__`; where it starts Metaflow, `then` gets metaflow.cli and it.

    `then` must not return. Returns only where the file starts no flow.
    """
    sys.argv = [file.name]
    # metaflow.cli takes its options from the flow that runs, and so cannot be imported earlier.
    sys.meta_path.insert(0, _AfterImport("metaflow.cli", lambda cli: _take_over(cli, then)))
    # Metaflow pickles the frames of a foreach as classes of the `__main__` that imported it.
    main = vars(sys.modules["__main__"])
    frames = {name: main[name] for name in ("ForeachFrame",) if name in main}
    runpy.run_path(str(file), init_globals=frames, run_name="__main__")


def _take_over(cli: Any, then: Then) -> None:
    begin = cli.main

    def main(flow: Any, *_: Any, **__: Any) -> None:
        cli.main = begin
        then(cli, flow)

    cli.main = main


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls `then` with the module `name` once that was imported."""

    def __init__(self, name: str, then: Callable[[Any], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                self._then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
