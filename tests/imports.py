"""What modules import, read from their text: also relative, lazy, and named by strings."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_NAMED = re.compile(r"[A-Za-z_][\w.]*(:\w+)?")
_IMPORTERS = {"import_module", "__import__", "find_spec"}


@dataclass(frozen=True, order=True)
class Import:
    """One module that another names. `late`: when a function runs; `typing`: for types alone."""

    name: str
    line: int
    late: bool = False
    typing: bool = False


def modules(root: Path, folders: Mapping[str, str]) -> dict[str, Path]:
    """Every module below `root` by its name; `folders` are the packages' own, with their names."""
    found = {}
    for folder, package in folders.items():
        for file in (root / folder).glob("**/*.py"):
            parts = file.relative_to(root / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = file
    return found


Graph = Mapping[str, Sequence[Import]]
"""What each module imports."""


def graph(modules: Mapping[str, Path]) -> Graph:
    """The imports of all `modules`."""
    return {name: imports(name, modules) for name in modules}


def imports(name: str, modules: Mapping[str, Path]) -> list[Import]:
    """What module `name` imports, of `modules` as exactly as can be: `from a import b` is `a.b`.

    A constant that is the name of a module, or `module:name`, counts as an import that comes late,
    as does an f-string that begins with a package of `modules`: it may be any module of that.
    """
    path = modules[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return sorted({*_Reader(package, modules).read(ast.parse(path.read_text()))})


@dataclass
class _Reader:
    package: str
    modules: Mapping[str, Path]

    def read(self, node: ast.AST, late: bool = False, typing: bool = False) -> Iterator[Import]:
        for found in self._named(node):
            yield Import(found, getattr(node, "lineno", 0), late or _is_value(node), typing)
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        guarded = node.body if isinstance(node, ast.If) and _is_typing(node.test) else []
        for child in ast.iter_child_nodes(node):
            yield from self.read(child, late, typing or child in guarded)

    def _named(self, node: ast.AST) -> Iterable[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            return self._from(self._absolute(node), [alias.name for alias in node.names])
        if isinstance(node, ast.Call) and _called(node) in _IMPORTERS and node.args:
            return self._argument(node.args[0])
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self._string(node.value)
        return ()

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.package.split(".")
        above = parts[: len(parts) - node.level + 1]
        return ".".join((*above, *([node.module] if node.module else [])))

    def _from(self, module: str, names: Iterable[str]) -> Iterator[str]:
        """`b` of `from a import b` may be a module itself."""
        for name in names:
            inner = f"{module}.{name}"
            yield inner if inner in self.modules else module

    def _argument(self, node: ast.expr) -> Iterable[str]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [node.value]
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            start = str(node.values[0].value)
            return [name for name in self.modules if name.startswith(start)]
        return ()

    def _string(self, text: str) -> Iterable[str]:
        named = text.partition(":")[0]
        known = "." in named and named in self.modules
        return [named] if known and _NAMED.fullmatch(text) else ()


def _is_value(node: ast.AST) -> bool:
    return not isinstance(node, (ast.Import, ast.ImportFrom))


def _is_typing(test: ast.expr) -> bool:
    return ast.unparse(test).rpartition(".")[2] == "TYPE_CHECKING"


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def reached(starts: Iterable[str], graph: Graph, *, late: bool) -> dict[str, tuple[str, ...]]:
    """All that an import of `starts` imports, each with the way to it; not what is for types alone.

    With `late`, also what the functions of these modules import. With a module come its packages.
    """
    ways: dict[str, tuple[str, ...]] = {}
    queue: deque[tuple[str, ...]] = deque((start,) for start in starts)
    while queue:
        way = queue.popleft()
        if ways.setdefault(way[-1], way) != way:
            continue
        above = [name for name in _packages(way[-1]) if name in graph]
        wanted = [i.name for i in graph.get(way[-1], ()) if not i.typing and (late or not i.late)]
        queue.extend((*way, name) for name in (*above, *wanted))
    return ways


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
