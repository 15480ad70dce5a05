"""What wheels of one environment bring differently for one path: told at each build, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mfbuild.build.analyze import Analysis, StepTarget
from mfbuild.build.session import Session
from mfbuild.engine.run import Results
from mfbuild.errors import ActionError, Problem, named

_HINT = (
    "where only one of them is wanted: leave the other out by `override-dependencies` in uv.toml, "
    "then `mfbuild lock --upgrade PACKAGE` with the one that stays"
)


def tell_overlaps(session: Session, analysis: Analysis, results: Results) -> None:
    """Warn of the paths on which wheels disagree, once for each environment.

    ActionError instead where BUILD.toml has `overlap = "error"`; BlobCorrupted.
    """
    targets = [step for flow in analysis.flows for step in flow.steps.values()]
    distinct = {tuple(step.overlaps.values()): step for step in reversed(targets)}
    problems = [
        p for step in reversed(distinct.values()) for p in _problems(session, step, results)
    ]
    if session.config.overlap == "error":
        ActionError.raise_for(problems)
    for problem in problems:
        used = "the last one's is used"
        session.reporter.warn(f"{problem.message}: {used} ({problem.where}); {problem.hint}")


def _problems(session: Session, step: StepTarget, results: Results) -> Iterator[Problem]:
    """A problem for all wheels that disagree with each other; those of all platforms in one."""
    found: dict[tuple[str, ...], set[str]] = {}
    wanted: dict[str, list[str]] = {}
    for output in step.overlaps.values():
        blob = results[output.label].outputs[output.name]
        said = json.loads(session.store.verified(blob).read_bytes())
        wanted |= {_package(w): [*map(_package, by)] for w, by in said["required_by"].items()}
        for path, wheels in said["paths"]:
            found.setdefault(tuple(map(_package, wheels)), set()).add(path)
    for packages, paths in sorted(found.items()):
        *others, last = (_called(package, wanted[package]) for package in packages)
        yield Problem(
            f"{', '.join(others)} and {last} bring different content to {named(sorted(paths))}",
            where=step.label.removesuffix(".image"),
            hint=_HINT,
        )


def _called(package: str, wanted_by: list[str]) -> str:
    """`` `cv-1.0` (required by `faces-1.0`) ``."""
    return f"`{package}`" + (f" (required by {named(wanted_by)})" if wanted_by else "")


def _package(wheel: str) -> str:
    """`lib_one-1.0` of a wheel's file name."""
    return "-".join(wheel.split("-")[:2])
