"""The installed mfbuild, beside a flow that may have a `mfbuild` of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

_NAME = "mfbuild"
_BESIDE = Path(__file__).parents[4]
_modules: dict[str, ModuleType] = {}
"""Ours, while the name is the flow's: a class must not be made twice."""


@contextmanager
def installed() -> Iterator[None]:
    """Within, `mfbuild` is what was installed with this extension, wherever it lies on sys.path.

    A flow's folder comes first there, and a `mfbuild.py` in it before ours. Afterwards the name is
    the flow's again: it keeps what it has imported, and finds its own where it has not. It is for
    whatever Metaflow or a person calls first: the command group, the decorator, the Deployer.
    """
    if getattr(sys.modules.get(_NAME), "__file__", None) == str(_BESIDE / _NAME / "__init__.py"):
        yield
        return
    theirs = _taken()
    sys.modules.update(_modules)
    try:
        if not _modules:
            _import()
        yield
    finally:
        _modules.update(_taken())
        sys.modules.update(theirs)


def _taken() -> dict[str, ModuleType]:
    """What this process has imported by the name, which it has no more."""
    names = [name for name in sys.modules if name.partition(".")[0] == _NAME]
    return {name: sys.modules.pop(name) for name in names}


def _import() -> None:
    spec = PathFinder.find_spec(_NAME, [str(_BESIDE)])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no {_NAME} in {_BESIDE}", name=_NAME)
    module = sys.modules[_NAME] = module_from_spec(spec)
    spec.loader.exec_module(module)
