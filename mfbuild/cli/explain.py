"""`mfbuild explain`: which input of an action changed."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from mfbuild.build.analyze import Analysis
from mfbuild.build.pipeline import plan
from mfbuild.cli import options
from mfbuild.engine.explain import explain
from mfbuild.engine.plan import Plan
from mfbuild.errors import UsageError, did_you_mean
from mfbuild.report import show

EPILOG = """\
examples:
  mfbuild explain //train.py.code           # the code tarball
  mfbuild explain //train.py:fit.image      # the image of the step `fit`
  mfbuild explain //train.py:fit            # the same
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say which input of an action changed, with the old and the new digest."
    parser.epilog = EPILOG
    parser.add_argument("label", metavar="LABEL", help="an action's label, as `plan` prints it")
    parser.add_argument(
        "--flow", action="append", default=[], help="the flow, where the label names none"
    )
    options.building(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    root = options.workspace_of(args.flow)
    words = args.flow or [_flow_of(args.label, root)]
    with options.session_of(args, root) as session:
        analysis, found = plan(session, words)
        findings = explain(found, _action(args.label, analysis, found), session.cache.last)
    if args.json:
        show(json.dumps({"actions": [asdict(finding) for finding in findings]}))
    else:
        show("\n".join(map(str, findings)))
    return 0


def _flow_of(label: str, root: Path) -> str:
    """The flow that a label belongs to; that of an image or a wheel belongs to no single one."""
    file = label.split(".py", 1)[0] + ".py"
    if label.startswith("//") and (root / file[2:]).is_file():
        return file
    return "//..."


def _action(label: str, analysis: Analysis, found: Plan) -> str:
    """The label of an action: a step stands for its image, which it may share with others."""
    known = [step.action.label for step in found.steps]
    if label in known:
        return label
    for flow in analysis.flows:
        for name, step in flow.steps.items():
            if label.removesuffix(".image") == f"{flow.label}:{name}":
                return step.label
    raise UsageError(f"there is no action `{label}`", hint=did_you_mean(label, known))
