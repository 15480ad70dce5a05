"""`mfbuild package`: flow.py in, a bundle out."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mfbuild.build.pipeline import build
from mfbuild.cli import options
from mfbuild.errors import UsageError
from mfbuild.report import counted

if TYPE_CHECKING:
    from mfbuild.build.bundle import Built
    from mfbuild.build.load import LoadedFlow
    from mfbuild.build.session import Session

EPILOG = """\
examples:
  mfbuild package train.py
  mfbuild package //flows/... --locked           # in CI
  mfbuild package train.py -o train.tar          # one file, which `docker load` takes too
  mfbuild package train.py -o oci://registry.example.com/ml/bundles
  v=$(mfbuild package train.py --json | jq -r '.bundles[0].version')
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Resolve what each step needs, bake its image and the code tarball, and write one bundle "
        "for each flow to .mfbuild/dist/. Prints the bundles' paths."
    )
    parser.epilog = EPILOG
    options.flows(parser)
    parser.add_argument(
        "-o",
        "--output",
        dest="bundle_output",
        type=_output,
        metavar="FILE.tar|oci://…",
        help="also as one file, or into a registry: oci://host/repository[:tag] (default tag: the "
        "version), for `mfbuild push oci://…` elsewhere",
    )
    parser.add_argument("--load", action="store_true", help="put the images into local Docker")
    options.building(parser)
    options.cache_flags(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    with options.session_for(args, args.flows) as session:
        built = build(session, args.flows, accept=partial(_check_number, session))
        from mfbuild.build.deliver import deliver
        from mfbuild.build.latest import note_latest

        note_latest(session, built)
        names = [deliver(session, made.path) for made in built]
        session.reporter.note(_summary(session, built, time.monotonic() - began))
    if args.json:
        found = [_json(made, loaded) for made, loaded in zip(built, names, strict=True)]
        print(json.dumps({"bundles": found}))
    else:
        print("\n".join(str(made.path) for made in built))
    return 0


def _check_number(session: Session, flows: Sequence[LoadedFlow]) -> None:
    if session.options.output and len(flows) != 1:
        raise UsageError(f"`--output` takes one flow, not {len(flows)}")


def _output(text: str) -> str:
    from mfbuild.build.deliver import check_output

    return check_output(text)


def _summary(session: Session, built: Sequence[Built], seconds: float) -> str:
    flows = [made.flow for made in built]
    names = ", ".join(flow.spec.name for flow in flows[:3])
    names += f" and {len(flows) - 3} more" if flows[3:] else ""
    steps = sum(len(flow.steps) for flow in flows)
    images = len({step.environment for flow in flows for step in flow.steps.values()})
    platforms = len(session.config.platforms)
    return (
        f"packaged {names}: {counted(steps, 'step')}, {counted(images, 'image')} for "
        f"{counted(platforms, 'platform')}, {session.reporter.tally} in {seconds:.1f} s"
    )


def _json(made: Built, loaded: tuple[str, ...]) -> dict[str, object]:
    return {
        "flow": made.flow.spec.name,
        "label": made.flow.label,
        "version": made.version,
        "path": str(made.path),
        "loaded": list(loaded),
    }
