"""What the rings of docs/design.md and the homes of docs/dependencies.md allow, of any modules."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.imports import Graph, graph, modules, reached

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "mfbuild": "mfbuild",
    "build_rules": "mfbuild.rules",
    "metaflow_extensions": "metaflow_extensions",
}
OURS = {"mfbuild", "mfbuild_runtime", "metaflow_extensions"}
"""The names of ours at the top; `mfbuild_runtime` is what `mfbuild.runtime` is called in images."""

Rings = Sequence[Sequence[str]]


def ours() -> Graph:
    """Every module of this checkout that is shipped, and what it imports."""
    return graph(modules(ROOT, FOLDERS))


def module_of(place: str) -> str:
    """The module or package that a document calls `oci/gzip.py`, `flyte/` or `build_rules/`."""
    parts = place.rstrip("/").removesuffix(".py").split("/")
    top = FOLDERS.get(parts[0])
    return ".".join((top, *parts[1:]) if top else ("mfbuild", *parts)).removesuffix(".__init__")


def read_rings(design: str) -> list[list[str]]:
    """The rings, innermost first: of each line of the block, the places before two spaces."""
    _, _, section = design.partition("\n## Rings\n")
    lines = section.split("```")[1].strip().splitlines()
    return [[module_of(p) for p in re.split(r" {2,}", line)[0].split()] for line in lines]


def ring_of(module: str, rings: Rings) -> int | None:
    """The number of the ring that holds `module`, 0 being the innermost."""
    found = (n for n, names in enumerate(rings) if within(module, names))
    return next(found, None)


def within(module: str, places: Iterable[str]) -> bool:
    """Whether `module` is one of `places` or in one, or begins as one that ends with `*`.

    `mfbuild` is a module alone: all others have rings of their own.
    """
    return any(
        module == place
        or (place != "mfbuild" and module.startswith(f"{place}."))
        or (place.endswith("*") and module.startswith(place[:-1]))
        for place in places
    )


def outward(graph: Graph, rings: Rings) -> list[str]:
    """Every import of an outer ring by an inner one, also one for types alone."""
    return [
        f"{module}:{imported.line} imports {imported.name}"
        for module, imports in graph.items()
        for imported in imports
        if (outer := ring_of(imported.name, rings)) is not None
        and outer > (ring_of(module, rings) or 0)
    ]


def impure(graph: Graph, pure: Collection[str], banned: Collection[str]) -> list[str]:
    """The way from each module of `pure` to a banned one: through our own, also by what is late."""
    starts = [module for module in graph if within(module, pure)]
    return sorted(
        {
            " > ".join(way)
            for start in starts
            for name, way in reached([start], graph, late=True).items()
            if name.split(".")[0] in banned
        }
    )


def third_parties(graph: Graph) -> Iterator[tuple[str, str]]:
    """Who imports what that is neither ours nor of the standard library."""
    for module, imports in graph.items():
        for imported in imports:
            if imported.name.split(".")[0] not in OURS | sys.stdlib_module_names:
                yield module, imported.name


@dataclass(frozen=True)
class Package:
    """A row of docs/dependencies.md; `homes` are modules and packages of ours."""

    name: str
    version: str
    imported_as: str
    homes: tuple[str, ...]
    when: str
    why: str


def read_packages(dependencies: str) -> list[Package]:
    """The rows of its tables."""
    rows = [line.strip("|\n ").split("|") for line in dependencies.splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [
        Package(name, version, imported.strip("`"), homes_of(by), when, why)
        for name, version, imported, by, when, why in cells
        if imported.startswith("`")
    ]


def homes_of(text: str) -> tuple[str, ...]:
    """The modules and packages that a text names in backticks."""
    return tuple(module_of(place) for place in re.findall(r"`([^`]+)`", text))


def homeless(graph: Graph, packages: Sequence[Package]) -> list[str]:
    """Every import of a third party that is not at home where it is imported, or not listed."""
    return [
        f"{module} imports {name}"
        for module, name in third_parties(graph)
        if not any(within(name, [p.imported_as]) and within(module, p.homes) for p in packages)
    ]


def deserted(graph: Graph, packages: Sequence[Package]) -> list[str]:
    """Every home in which the package is not imported."""
    users = list(third_parties(graph))
    return [
        f"{home} does not import {package.imported_as}"
        for package in packages
        for home in package.homes
        if not any(within(n, [package.imported_as]) and within(m, [home]) for m, n in users)
    ]


def begun(graph: Graph, start: str) -> list[str]:
    """What is neither ours nor of the standard library and is imported with `start`, with ways."""
    ways = reached([start], graph, late=False)
    return [
        " > ".join(way)
        for name, way in ways.items()
        if name.split(".")[0] not in OURS | sys.stdlib_module_names
    ]
