"""flow.py -> FlowSpec: from the depfile when nothing changed, else through a child process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mfbuild.errors import FlowError, MfbuildError, Problem, UsageError
from mfbuild.files import words_of
from mfbuild.flow import codec, depfile
from mfbuild.flow.spec import CodeFile, FlowSpec

IGNORE_FILE = ".mfbuildignore"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded flow; `reason` says why a child process ran, None if none had to."""

    spec: FlowSpec
    reason: str | None

    @property
    def cached(self) -> bool:
        """Whether the depfile answered, without a child process."""
        return self.reason is None


def load_flow(
    flow_file: Path,
    *,
    workspace: Path,
    python: Path,
    options: Sequence[str] = (),
    cache_dir: Path,
    refresh: bool = False,
    datastores: Sequence[str] = (),
    env: Mapping[str, str],
    meanwhile: Callable[[], None] = lambda: None,
) -> Loaded:
    """The FlowSpec of `flow_file`, which is inside `workspace`, as `python flow.py` would see it.

    `python` is the user's interpreter; `options` are Metaflow's top-level options (`--config`,
    `--with`, ...); `datastores` are types (`s3`) that the steps need packages for besides the
    configured one; `env` is the environment of the child. The result is kept under `cache_dir`
    with all that it depends on; `refresh` loads anew (and evaluates deploy-time defaults again).
    `meanwhile` is called when there is a child to wait for.

    UsageError: no such file or interpreter, Metaflow cannot be imported by it, bad options.
    FlowError: the file is no loadable flow, or asks for what is not supported.
    """
    file, root = _located(flow_file, workspace)
    request: dict[str, Any] = {
        "flow": str(file),
        "workspace": str(root),
        "options": list(options),
        "datastores": sorted(set(datastores)),
    }
    stored = depfile.path(cache_dir, {**request, "cwd": str(Path.cwd()), "python": str(python)})
    answer = "asked to refresh" if refresh else depfile.check(stored, env)
    if not isinstance(answer, str):
        with contextlib.suppress(ValueError):  # a damaged depfile
            spec = _with_modes(codec.from_json(answer))
            if spec is not None:
                return Loaded(spec, None)
        answer = "a packaged file is gone"
    from mfbuild.flow.child import ask  # 8 ms that a load without a child saves

    result = ask(python, request, env, meanwhile)
    if result["problems"]:
        raise _failure(result["problems"], root)
    spec, ignored = _without_ignored(codec.from_json(result["flow"]), file)
    inputs = _inputs(result["inputs"], python, file, ignored)
    with contextlib.suppress(OSError):  # a cache that cannot be written makes no load fail
        depfile.write(stored, inputs, codec.to_json(spec), env)
    return Loaded(spec, answer)


def _located(flow_file: Path, workspace: Path) -> tuple[Path, Path]:
    """The absolute paths of the flow file and of the workspace that holds it."""
    if not flow_file.is_file():
        raise UsageError(f"there is no flow file `{flow_file}`")
    file, root = flow_file.absolute(), workspace.absolute()
    if not file.is_relative_to(root):
        file, root = file.parent.resolve() / file.name, root.resolve()
    if not file.is_relative_to(root):
        raise UsageError(f"`{flow_file}` is outside the workspace `{workspace}`")
    return file, root


def _with_modes(spec: FlowSpec) -> FlowSpec | None:
    """`spec` with the executable bits of now, which no listing shows; None if a file is gone."""

    def current(file: CodeFile) -> CodeFile:
        if file.path is None:
            return file
        executable = bool(os.stat(file.path).st_mode & 0o111)  # noqa: PTH116
        return file if executable == file.executable else replace(file, executable=executable)

    try:
        return replace(spec, code=tuple(current(file) for file in spec.code))
    except OSError:
        return None


def _failure(problems: Sequence[Mapping[str, Any]], root: Path) -> MfbuildError:
    """The error that carries the probe's problems; files of the workspace relative to it."""

    def relative(where: str | None) -> str | None:
        return where and where.removeprefix(f"{root}{os.sep}")

    if problems[0]["kind"] == "bug":
        raise RuntimeError(problems[0]["message"])
    kind = UsageError if problems[0]["kind"] == "usage" else FlowError
    return kind.all_of([Problem(p["message"], relative(p["where"]), p["hint"]) for p in problems])


def _without_ignored(spec: FlowSpec, file: Path) -> tuple[FlowSpec, Callable[[str], bool]]:
    """`spec` without the code files that .mfbuildignore names, and a test of paths for that."""
    folder = file.parent
    try:
        lines = (folder / IGNORE_FILE).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return spec, lambda _: False
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read `{IGNORE_FILE}`: {words_of(error)}") from error
    from pathspec import GitIgnoreSpec

    try:
        patterns = GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise UsageError(f"`{IGNORE_FILE}` has a bad pattern: {error}") from error

    def ignored(path: str) -> bool:
        """Whether `path`, absolute, with a `/` at its end if it is a folder, is ignored."""
        return path.startswith(f"{folder}/") and patterns.match_file(path[len(str(folder)) + 1 :])

    kept = [f for f in spec.code if _kept(f, file.name) or not patterns.match_file(f.arcname)]
    return replace(spec, code=tuple(kept)), ignored


def _kept(file: CodeFile, flow_name: str) -> bool:
    """Whether no pattern can drop `file`: the flow itself, and what is not the user's tree."""
    return file.arcname == flow_name or file.arcname.startswith(".mf_")


def _inputs(value: Any, python: Path, file: Path, ignored: Callable[[str], bool]) -> depfile.Inputs:
    """The child's record as Inputs, with what only this side knows."""
    listed = {p: names for p, names in value["packaged"].items() if not ignored(p + "/")}
    ignore_file = str(file.parent / IGNORE_FILE)
    files = {name: stat and tuple(stat) for name, stat in value["files"].items()}
    files[ignore_file] = depfile.stat_or_none(ignore_file)
    return depfile.Inputs(
        files=files,
        directories={**listed, **value["directories"]},
        stamps=(str(python), *value["stamps"]),
        environment=tuple(value["environment"]),
        whole_environment=value["whole_environment"],
    )
