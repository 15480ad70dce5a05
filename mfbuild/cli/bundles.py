"""The bundles that a verb names: flows that are packaged first, folders, tars, and oci:// names."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.cli import options
from mfbuild.errors import UsageError
from mfbuild.oci.reference import REMOTE

if TYPE_CHECKING:
    from mfbuild.build.latest import Latest
    from mfbuild.build.session import Session
    from mfbuild.flow.spec import FlowSpec
    from mfbuild.push.bundles import Source


def arguments(parser: argparse.ArgumentParser) -> None:
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """A bundle to push, and its flow: with its @flyte where that was loaded."""

    bundle: Source
    spec: FlowSpec


def workspace(args: argparse.Namespace) -> Path:
    """The workspace of the flows that are named."""
    return options.workspace_of([word for word in args.what if not is_bundle(word)])


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
