"""What a flow's file imports at its top and a step's image has not: that step could not begin."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import PurePosixPath

from mfbuild.build.analyze import FlowTarget
from mfbuild.engine.model import Output
from mfbuild.engine.run import Results
from mfbuild.engine.store import Store
from mfbuild.oci.types import Platform

_SITE = "/site-packages/"


def missing_imports(
    source: bytes, flow: FlowTarget, platform: Platform, results: Results, store: Store
) -> Iterator[str]:
    """A sentence for each module that `source`, the flow's file, imports and some image has not.

    An image whose layers cannot be told, being of a foreign base or gone from the store, is taken
    to have it all. The files of the code are found by any name: they may be anywhere on sys.path.
    """
    code = {part for file in flow.spec.code for part in _names(file.arcname)}
    wanted = {n: line for n, line in top_level_imports(source).items() if n not in code}
    if not wanted:
        return
    known = {
        step.label: _modules(flow, name, platform, results, store)
        for name, step in flow.steps.items()
    }
    for module, line in wanted.items():
        steps = [
            f"`{name}`"
            for name, step in flow.steps.items()
            if (there := known[step.label]) is not None and module not in there
        ]
        if steps:
            several = "s" if len(steps) > 1 else ""
            yield (
                f"{flow.spec.file}:{line} imports `{module}`, which the image of step{several} "
                f"{', '.join(steps)} has not: name its package in @pypi_base, or import it in the "
                "steps that use it"
            )


def top_level_imports(source: bytes) -> Mapping[str, int]:
    """The modules that a file imports before anything else can happen, each with its line.

    By their first names, without the standard library's and Metaflow. What stands in a `try`, an
    `if` or a function may never be imported, and is left out; so is all of a file that this Python
    cannot read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the flow's own spelling, which its interpreter tells
        try:
            body = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return {}
    found: dict[str, int] = {}
    for node in body:
        for name in _imported(node):
            found.setdefault(name.partition(".")[0], node.lineno)
    return {n: line for n, line in found.items() if n not in sys.stdlib_module_names | {"metaflow"}}


def _imported(node: ast.stmt) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []


def _names(path: str) -> Iterator[str]:
    """What a module of this path, or of any folder of it, may be called."""
    return (part.partition(".")[0] for part in PurePosixPath(path).parts)


def _modules(
    flow: FlowTarget, step: str, platform: Platform, results: Results, store: Store
) -> Set[str] | None:
    """The first names of all that a step's image has in site-packages; None if unknown."""
    found: set[str] = set()
    for layer in flow.steps[step].image.layers[platform]:
        if layer.paths is None and layer.diff_id is None:
            continue  # another layer tells them
        if layer.paths is None or (lines := _lines(layer.paths, results, store)) is None:
            return None
        for line in lines:
            _, site, rest = line.partition("\t")[0].partition(_SITE)
            if site:
                found.add(rest.partition("/")[0].partition(".")[0])
    return found


def _lines(paths: Output, results: Results, store: Store) -> list[str] | None:
    result = results.get(paths.label)
    blob = result.outputs.get(paths.name) if result else None
    if blob is None or not store.has(blob):
        return None
    return store.verified(blob).read_text(encoding="utf-8").splitlines()
