"""What was packaged last in a workspace, for a push that names nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mfbuild.build.bundle import Built, manifest_of
from mfbuild.build.pipeline import plan
from mfbuild.build.session import Session
from mfbuild.engine.kept import kept_json, parse_kept_json
from mfbuild.engine.model import ActionResult
from mfbuild.engine.plan import Status
from mfbuild.errors import BundleError, ResolveError, UsageError
from mfbuild.files import disk_errors, words_of, write_atomically
from mfbuild.flow.spec import FlowSpec

LATEST = ".mfbuild/latest.json"


@dataclass(frozen=True, slots=True)
class Latest:
    """A bundle that was packaged last: its flow's label, its path, and the flags that shaped it."""

    label: str
    path: Path
    shape: Mapping[str, Any]


def note_latest(session: Session, built: Sequence[Built]) -> None:
    """Write down what was packaged last, for a push that names nothing; BundleError.

    A workspace may be moved: the paths in it begin at its root.
    """
    root = session.config.root
    bundles = [
        {
            "label": made.flow.label,
            "path": str(made.path.relative_to(root)),
            "policy": session.options.shape,
        }
        for made in built
    ]
    with disk_errors(BundleError, f"writing `{root / LATEST}`", root / LATEST):
        write_atomically(root / LATEST, kept_json(LATEST, {"bundles": bundles}, indent=1).encode())


def read_latest(root: Path) -> tuple[Latest, ...]:
    """What was packaged last; UsageError if nothing was, or if it is gone."""
    try:
        value = parse_kept_json(LATEST, (root / LATEST).read_bytes())["bundles"]
        found = tuple(Latest(v["label"], root / v["path"], v["policy"]) for v in value)
    except FileNotFoundError:
        found = ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "name a flow: mfbuild push flow.py"
        raise UsageError(f"`{LATEST}` cannot be read: {words_of(error)}", hint=hint) from error
    if not found:
        raise UsageError("nothing was packaged here yet", hint="name a flow: mfbuild push flow.py")
    if gone := [latest for latest in found if not latest.path.exists()]:
        hint = f"make it again: mfbuild push {gone[0].label}"
        raise UsageError(f"`{gone[0].path}`, which was packaged last, is gone", hint=hint)
    return found


def flow_at(session: Session, label: str, version: str) -> FlowSpec | None:
    """The flow `label`; None where packaging it now would give another version than `version`."""
    session = replace(session, options=replace(session.options, locked=True))
    try:
        analysis, planned = plan(session, [label])
    except ResolveError:  # BUILD.lock would change
        return None
    results: dict[str, ActionResult] = {}
    for step in planned.steps:
        if step.status is not Status.CACHED or step.result is None:
            return None
        results[step.action.label] = step.result
    (flow,) = analysis.flows
    same = manifest_of(flow, results, session.config).version == version
    return flow.spec if same else None
