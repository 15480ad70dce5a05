"""`mfbuild push`: a bundle becomes images in a registry and versions in Flyte."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mfbuild.cli import options, targets
from mfbuild.errors import Problem, UsageError
from mfbuild.oci.reference import REMOTE
from mfbuild.report import counted

if TYPE_CHECKING:
    from mfbuild.build.latest import Latest
    from mfbuild.build.session import Session
    from mfbuild.flow.spec import FlowSpec
    from mfbuild.push.bundles import Source
    from mfbuild.push.deployment import Deployment
    from mfbuild.push.dry_run import DryRun
    from mfbuild.push.push import Pushed
    from mfbuild.push.target import PushTarget
    from mfbuild.report import PlainReporter

EPILOG = """\
examples:
  mfbuild push                                   # what was packaged last, to development
  mfbuild push train.py --domain staging         # packages first; nothing to do takes no time
  mfbuild push .mfbuild/dist/TrainFlow-5b0c6c… -d staging -d production --activate
  mfbuild push oci://registry.example.com/flows/trainflow:5b0c6c… -d production
  mfbuild push --dry-run                         # the calls, none of them made
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Push the images, the code and the registrations of bundles: what is there already is not "
        "sent again. Without a Flyte configured they go to the embedded backend, files below "
        ".mfbuild/flyte. Prints each flow@version, and its images by digest."
    )
    parser.epilog = EPILOG
    arguments_of_bundles(parser)
    targets.where(parser, several=True)
    targets.metaflow(parser)
    parser.add_argument(
        "--activate",
        action="store_true",
        help="make it the version whose schedule is live (default: the domain's `activate`)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the calls, make none")
    options.building(parser)
    options.cache_flags(parser)
    options.common(parser)


def arguments_of_bundles(parser: argparse.ArgumentParser) -> None:
    """What to push or to export."""
    parser.add_argument(
        "what",
        nargs="*",
        metavar="FLOW|BUNDLE",
        help="a flow (packaged first), a bundle's folder or tar, or oci://registry/repository:tag "
        "(default: what was packaged last)",
    )
    parser.add_argument(
        "--stale-ok", action="store_true", help="take the last bundle though its sources changed"
    )


class Wanted(NamedTuple):
    """A bundle to push, and its flow: with its @flyte where that was loaded."""

    bundle: Source
    spec: FlowSpec


_Result = tuple["PushTarget", "Pushed", "list[str] | None"]
"""A bundle in a domain; the calls are those of a dry run."""


def run(args: argparse.Namespace) -> int:
    flows = [word for word in args.what if not is_bundle(word)]
    root = options.workspace_of(flows)
    with options.session_of(args, root) as session:
        results = list(_push_all(args, session, list(bundles_of(args, session))))
    if args.json:
        print(json.dumps({"pushed": [result_json(*result) for result in results]}))
    else:
        for _, pushed, calls in results:
            for line in result_lines(pushed, calls):
                print(line)
    return 0


def is_bundle(word: str) -> bool:
    """Whether `word` is a bundle, here or in a registry, rather than a flow."""
    return word.startswith(REMOTE) or options.is_local_bundle(word)


def bundle_at(word: str, environ: Mapping[str, str]) -> Source:
    """The bundle that `word` names, where `is_bundle`."""
    if word.startswith(REMOTE):
        from mfbuild.bundle.remote import open_remote

        return open_remote(word, environ)
    from mfbuild.bundle.read import read_bundle

    return read_bundle(Path(word))


def bundles_of(args: argparse.Namespace, session: Session) -> Iterator[Wanted]:
    """The bundles to push; flows are packaged, what was packaged last is held against its flow."""
    from mfbuild.bundle.read import read_bundle

    flows = [word for word in args.what if not is_bundle(word)]
    if not args.what:
        yield from _latest(args, session)
    for word in args.what:
        if is_bundle(word):
            bundle = bundle_at(word, session.config.environ)
            yield Wanted(bundle, bundle.manifest.spec)
    if flows:
        from mfbuild.build.latest import note_latest
        from mfbuild.build.pipeline import build

        built = build(session, flows)
        note_latest(session, built)
        yield from (Wanted(read_bundle(made.path), made.flow.spec) for made in built)


def _latest(args: argparse.Namespace, session: Session) -> Iterator[Wanted]:
    from mfbuild.build.latest import read_latest
    from mfbuild.bundle.read import read_bundle

    for latest in read_latest(session.config.root):
        bundle = read_bundle(latest.path)
        session.reporter.note(f"{bundle.manifest.flow} as packaged last: {latest.path}")
        spec = None if args.stale_ok else _current(args, latest, bundle.manifest.version)
        if not spec and not args.stale_ok:
            raise UsageError(
                f"{latest.label} has changed since it was packaged",
                hint=f"`mfbuild push {latest.label}` packages it first; or give --stale-ok",
            )
        yield Wanted(bundle, spec or bundle.manifest.spec)


def _current(args: argparse.Namespace, latest: Latest, version: str) -> FlowSpec | None:
    """The flow of `latest`; None if packaging it now, with the flags of then, gives another
    version."""
    from mfbuild.build.latest import flow_at

    root = options.workspace_of([])
    if not (root / latest.label[2:]).is_file():
        return None
    with options.session_of(options.with_shape(args, latest.shape), root) as then:
        return flow_at(then, latest.label, version)


def _push_all(
    args: argparse.Namespace, session: Session, bundles: Sequence[Wanted]
) -> Iterator[_Result]:
    from mfbuild.push.push import push

    for bundle, target, deployment in _checked(args, session, bundles):
        began = time.monotonic()
        dry = _dry_run(target) if args.dry_run else None
        activate = args.activate or session.config.domains[deployment.domain].activate
        used = dry.whole() if dry else target
        pushed = push(bundle, deployment, used, activate=activate)
        calls = dry.calls if dry else None
        tell(session.reporter, target, pushed, calls, time.monotonic() - began)
        yield target, pushed, calls


def _dry_run(target: PushTarget) -> DryRun:
    from mfbuild.push.dry_run import DryRun

    return DryRun(target)


def _checked(
    args: argparse.Namespace, session: Session, bundles: Sequence[Wanted]
) -> list[tuple[Source, PushTarget, Deployment]]:
    """Each bundle with each place that it goes to.

    UsageError, before anything is sent to any of them, names all that is missing.
    """
    from mfbuild.push.record import site_of

    found: list[tuple[Source, PushTarget, Deployment]] = []
    known: dict[tuple[str, str | None], PushTarget] = {}
    problems: list[Problem] = []
    for bundle, spec in bundles:
        for domain in targets.domains_of(args, session.config, spec):
            key = domain, targets.project(args, spec)
            target = known[key] = known.get(key) or targets.target(args, session, domain, spec)
            deployment = targets.deployment(args, session, target, domain, spec)
            try:
                site_of(bundle.manifest, deployment, embedded=target.embedded)
            except UsageError as error:
                problems += error.problems
            found.append((bundle, target, deployment))
    UsageError.raise_for(dict.fromkeys(problems))
    return found


def tell(
    reporter: PlainReporter,
    target: PushTarget,
    pushed: Pushed,
    calls: list[str] | None,
    seconds: float,
) -> None:
    """Say what a push has done, in a sentence."""
    id = pushed.launch_plan
    where = f"{id.name}@{id.version[:12]} in {id.project}/{id.domain} of {target}"
    for note in pushed.notes:
        reporter.note(f"note: {note}")
    if calls is not None:
        reporter.note(f"{counted(len(calls), 'call')} would bring {where}")
    elif pushed.sent:
        active = ", active" if pushed.active else ""
        images = "images, " if pushed.sent_images else ""
        sent = f"{images}{counted(len(pushed.sent), 'registration')} in {seconds:.1f} s"
        reporter.note(f"pushed {where}{active}: {sent}")
    else:
        reporter.note(f"nothing to register: there is {where} ({seconds:.1f} s)")


def result_lines(pushed: Pushed, calls: list[str] | None) -> Iterator[str]:
    """`flow@version`, then each image of a registry by digest; of a dry run, its calls."""
    if calls is not None:
        yield from calls
        return
    yield f"{pushed.launch_plan.name}@{pushed.launch_plan.version}"
    yield from pushed.references


def result_json(target: PushTarget, pushed: Pushed, calls: list[str] | None) -> dict[str, object]:
    """The same for machines."""
    id = pushed.launch_plan
    return {
        "name": id.name,
        "version": id.version,
        "project": id.project,
        "domain": id.domain,
        "backend": target.backend.name,
        "images": dict(pushed.images),
        "sent": [f"{i.name}@{i.version}" for i in pushed.sent],
        "active": pushed.active,
        "notes": list(pushed.notes),
        "calls": calls,
    }
