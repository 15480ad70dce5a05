"""Why a flow could not be loaded, in the child: the user's own traceback, file and line.

Part of the probe: runs in the user's interpreter (3.8 or newer) and imports nothing of mfbuild.
"""

from __future__ import annotations

import ast
import re
import runpy
import site
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Problem = dict[str, Any]


def problem(message: str, where: str, hint: str | None = None, kind: str = "flow") -> Problem:
    """What the parent makes an error of; `kind` is `flow`, `usage` or `bug`."""
    return {"kind": kind, "message": message, "where": where, "hint": hint}


def not_started(error: BaseException | None, flow: str) -> Problem:
    """Why the file `flow` ended, with `error` or without, before a FlowSpec was started."""
    if isinstance(error, ModuleNotFoundError) and error.name == "metaflow":
        message = f"`{sys.executable}` cannot import metaflow"
        hint = "install metaflow there, or choose the interpreter that has it"
        return problem(message, flow, hint, "usage")
    if isinstance(error, SystemExit):
        message = f"the file exits with `{error.code}` before its flow starts"
        return problem(message, _line_of(error) or flow)
    if error is not None:
        return failure(error, flow)
    names = _flow_names()
    if not names:
        return problem("there is no FlowSpec in the file", flow)
    return problem(
        f"the file defines `{'`, `'.join(names)}` but does not start it",
        flow,
        f'end the file with `if __name__ == "__main__": {names[-1]}()`',
    )


def several(started: Sequence[str], flow: str) -> list[Problem]:
    """The problem of a file that starts other flows besides `started`, or none.

    Metaflow ends the process with its first flow, so the others are looked for in the source.
    """
    names = sorted({*started, *_started_in(flow, _flow_names())})
    if len(names) < 2:
        return []
    message = f"the file starts more than one flow: `{'`, `'.join(names)}`"
    return [problem(message, flow, "Metaflow runs only the first: give each flow its own file")]


def failure(error: BaseException, flow: str) -> Problem:
    """The problem that `error` is: Metaflow's own words, or the user's traceback."""
    if hasattr(error, "format_message"):  # a ClickException
        message = f"Metaflow does not take the options: {error.format_message()}"
        return problem(message, flow, kind="usage")
    if _is_ours(error):
        return problem(
            "".join(traceback.format_exception(None, error, error.__traceback__)), flow, kind="bug"
        )
    if not _is_metaflow(error):
        summary = "".join(traceback.format_exception_only(type(error), error)).strip()
        message = f"the flow raised `{summary.splitlines()[-1]}`\n{_traceback(error)}"
        return problem(message, _line_of(error) or flow)
    line, source = getattr(error, "line_no", None), getattr(error, "source_file", None) or flow
    where = f"{source}:{line}" if line else _line_of(error) or source
    text = str(getattr(error, "message", error)).split("\n\nTraceback (most recent", 1)[0]
    message = f"Metaflow refuses the flow: {_quoted(text)}"
    cause = error.__cause__ or error.__context__
    if cause is None or _is_metaflow(cause):
        return problem(message, where)
    return problem(f"{message}\n{_traceback(cause)}", _line_of(cause) or where)


def _flow_names() -> list[str]:
    """The FlowSpec classes that the flow file itself defines."""
    flowspec = sys.modules.get("metaflow.flowspec")
    found: list[str] = []
    pending = list(flowspec.FlowSpec.__subclasses__()) if flowspec else []
    while pending:
        cls = pending.pop(0)
        pending.extend(cls.__subclasses__())
        if cls.__module__ == "__main__" and cls.__name__ not in found:
            found.append(cls.__name__)
    return found


def _started_in(path: str, names: Sequence[str]) -> set[str]:
    """The flows that the file calls outside of functions and classes.

    `names` are those that are defined; Metaflow ends the process with the first flow, so what
    comes after it is known from the source alone.
    """
    tree = ast.parse(Path(path).read_bytes())
    flows = {*names, *_extending(tree, "FlowSpec")}
    pending: list[ast.AST] = [tree]
    started = set()
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in flows:
            started.add(node.func.id)
        pending.extend(ast.iter_child_nodes(node))
    return started


def _extending(tree: ast.Module, name: str) -> set[str]:
    """The classes of the module that extend the class called `name`."""
    found = {name}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = (getattr(b, "attr", getattr(b, "id", None)) for b in node.bases)
            if not found.isdisjoint(bases):
                found.add(node.name)
    return found - {name}


def _is_metaflow(error: BaseException) -> bool:
    return any(cls.__name__ == "MetaflowException" for cls in type(error).__mro__)


def _is_ours(error: BaseException) -> bool:
    """Whether the probe itself raised `error`."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).parent == Path(__file__).parent


def _quoted(message: str) -> str:
    """Metaflow's message with its *emphasis* as backticks."""
    return re.sub(r"\*([^\s*](?:[^*\n]*[^\s*])?)\*", r"`\1`", message).strip()


def _traceback(error: BaseException) -> str:
    """The traceback of `error` and its causes without the frames of the probe and of Metaflow."""
    told = traceback.TracebackException.from_exception(error)
    pending = [told]
    while pending:
        part = pending.pop()
        part.stack[:] = [frame for frame in part.stack if not _is_machinery(frame.filename)]
        context = part.__context__
        if context and all(_is_machinery(frame.filename) for frame in context.stack):
            part.__context__ = None
        pending.extend(p for p in (part.__cause__, part.__context__) if p is not None)
    return "".join(told.format()).rstrip()


def _line_of(error: BaseException) -> str | None:
    """Where the user's own code raised `error`, as file:line."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_library(frame.filename):
            return f"{frame.filename}:{frame.lineno}"
    return None


def _is_machinery(path: str) -> bool:
    folders = [str(Path(__file__).resolve().parent)]
    metaflow = sys.modules.get("metaflow")
    if metaflow is not None and metaflow.__file__:
        folders.append(str(Path(metaflow.__file__).parent))
    if path == sys.argv[0]:
        return False
    return path == runpy.__file__ or path.startswith(("<frozen ", *(f"{f}/" for f in folders)))


def _is_library(path: str) -> bool:
    library = [str(Path(ast.__file__).parent), *site.getsitepackages()]
    return _is_machinery(path) or path.startswith(("<", *(f"{folder}/" for folder in library)))
