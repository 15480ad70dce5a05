"""Labels and patterns of flows: `//flows/train.py`, `//flows/...`, or a path."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mfbuild.errors import Problem, UsageError

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "venv"}
_FLOW = re.compile(rb"^\s*class\s+\w+\s*\([^)]*\bFlowSpec\b", re.MULTILINE)


def find_flows(words: Sequence[str], root: Path) -> tuple[Path, ...]:
    """The flow files that `words` name, each once, in the order named; patterns are sorted.

    A word is a path, a label `//dir/flow.py` or a pattern `//dir/...`, the last two below `root`.
    UsageError names every word that finds nothing, or that lies outside the workspace.
    """
    found: dict[Path, None] = {}
    problems: list[Problem] = []
    for word in words:
        files = _expand(word, root)
        problems += [_problem(word)] if not files else []
        for file in files:
            if not file.is_relative_to(root):
                problems.append(_outside(word, root))
            found[file] = None
    UsageError.raise_for(problems)
    return tuple(found)


def find_flow(word: str, root: Path) -> Path:
    """The one flow file that `word` names; UsageError as of `find_flows`, or for several."""
    files = find_flows([word], root)
    if len(files) != 1:
        raise UsageError(f"`{word}` is {len(files)} flows, where one is needed")
    return files[0]


def flow_label(file: Path, root: Path) -> str:
    """The label of a flow file below `root`."""
    return f"//{file.relative_to(root).as_posix()}"


def _expand(word: str, root: Path) -> list[Path]:
    if not word.startswith("//"):
        file = Path(os.path.abspath(word))  # noqa: PTH100 - a symlink stays one, as Metaflow does
        return [file] if file.is_file() else []
    name = word[2:]
    if name.endswith("..."):
        folder = root / name[:-3].rstrip("/")
        return sorted(_walk(folder)) if folder.is_dir() else []
    file = root / name
    return [file] if file.is_file() and ".." not in name.split("/") else []


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [d for d in folders if not d.startswith(".") and d not in _SKIPPED]
        for name in files:
            file = Path(where, name)
            if name.endswith(".py") and _starts_a_flow(file.read_bytes()):
                yield file


def _starts_a_flow(source: bytes) -> bool:
    """Whether a file defines a FlowSpec and has a main part; a file that is no Python may."""
    if not _FLOW.search(source) or b"__main__" not in source:
        return False
    import ast

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True  # whoever loads it says what is wrong with it
    return any(
        isinstance(node, ast.ClassDef) and any(_name(base) == "FlowSpec" for base in node.bases)
        for node in tree.body
    )


def _name(base: object) -> str | None:
    """`FlowSpec` of `FlowSpec` and of `metaflow.FlowSpec`, in a syntax tree."""
    name: str | None = getattr(base, "attr", getattr(base, "id", None))
    return name


def _problem(word: str) -> Problem:
    if word.endswith("..."):
        return Problem(f"`{word}` finds no flow", hint="a flow is a class that extends FlowSpec")
    return Problem(f"there is no file `{word}`")


def _outside(word: str, root: Path) -> Problem:
    return Problem(
        f"`{word}` is outside the workspace `{root}`",
        hint="flows that are packaged together share one BUILD.toml above them",
    )
