"""`mfbuild package`: flow.py in, a bundle out."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.build.labels import find_flows
from mfbuild.build.load import load_flows
from mfbuild.build.session import Session
from mfbuild.cli import options
from mfbuild.errors import UsageError
from mfbuild.oci.reference import REMOTE, Reference
from mfbuild.report import counted

if TYPE_CHECKING:
    from mfbuild.build.analyze import FlowTarget

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
    _check_output(args.output)
    root = options.workspace_of(args.flows)
    files = find_flows(args.flows, root)
    if args.output and len(files) != 1:
        raise UsageError(f"`--output` takes one flow, not {len(files)}")
    with options.session_of(args, root) as session:
        loaded = load_flows(session, files, meanwhile=options.import_the_rest)
        from mfbuild.build.bundle import Latest, note_latest, package

        made = package(session, loaded)
        policy = options.policy_of(args)
        note_latest(root, [Latest(flow.label, path, policy) for flow, path in made])
        tags = [_extras(args, session, path) for _, path in made]
        seconds = time.monotonic() - began
        session.reporter.note(_summary(session, [flow for flow, _ in made], seconds))
    if args.json:
        found = [_json(flow, path, t) for (flow, path), t in zip(made, tags, strict=True)]
        print(json.dumps({"bundles": found}))
    else:
        print("\n".join(str(path) for _, path in made))
    return 0


def _check_output(output: str | None) -> None:
    """UsageError, before anything is made, where `output` can be nothing that is written."""
    if output and output.startswith(REMOTE):
        Reference.remote(output, bare=True)
    elif output and not output.endswith(".tar"):
        raise UsageError(f"`--output {output}` is neither a FILE.tar nor oci://host/repository")


def _extras(args: argparse.Namespace, session: Session, path: Path) -> tuple[str, ...]:
    """The bundle as a tar, in a registry and in Docker, where asked; its images' names there."""
    if not (args.output or args.load):
        return ()
    from mfbuild.bundle.read import load_bundle, read_bundle, write_tar

    bundle = read_bundle(path)
    if args.output and args.output.startswith(REMOTE):
        from mfbuild.bundle.remote import send_bundle

        jobs = session.config.jobs
        send_bundle(bundle, args.output, jobs=jobs, reporter=session.reporter)
    elif args.output:
        write_tar(bundle, Path(args.output))
    return load_bundle(bundle) if args.load else ()


def _summary(session: Session, flows: list[FlowTarget], seconds: float) -> str:
    names = ", ".join(flow.spec.name for flow in flows[:3])
    names += f" and {len(flows) - 3} more" if flows[3:] else ""
    steps = sum(len(flow.steps) for flow in flows)
    images = len({step.environment for flow in flows for step in flow.steps.values()})
    platforms = len(session.config.platforms)
    return (
        f"packaged {names}: {counted(steps, 'step')}, {counted(images, 'image')} for "
        f"{counted(platforms, 'platform')}, {session.reporter.tally} in {seconds:.1f} s"
    )


def _json(flow: FlowTarget, path: Path, loaded: tuple[str, ...]) -> dict[str, object]:
    return {
        "flow": flow.spec.name,
        "label": flow.label,
        "version": path.name.rpartition("-")[2],
        "path": str(path),
        "loaded": list(loaded),
    }
