"""`mfbuild push`: a bundle becomes images in a registry and versions in Flyte."""

from __future__ import annotations

import argparse
import functools
import json
from typing import TYPE_CHECKING

from mfbuild.cli import bundles, options, targets
from mfbuild.report import show

if TYPE_CHECKING:
    from mfbuild.build.session import Session
    from mfbuild.push.results import Result

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
    bundles.arguments(parser)
    targets.arguments(parser, several=True)
    targets.metaflow_arguments(parser)
    parser.add_argument(
        "--activate",
        action="store_true",
        help="make it the version whose schedule is live (default: the domain's `activate`)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the calls, make none")
    options.building(parser)
    options.cache_flags(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_of(args, bundles.workspace(args)) as session:
        results = _push(args, session)
    if args.json:
        show(json.dumps({"pushed": [result.json() for result in results]}))
    else:
        for result in results:
            for line in result.lines():
                show(line)
    return 0


def _push(args: argparse.Namespace, session: Session) -> list[Result]:
    """Each bundle to each of its targets; nothing is sent before all of them are known to do."""
    from mfbuild.push.record import sites_of
    from mfbuild.push.results import push_and_tell

    config, where = session.config, targets.where_of(args, session.config)
    target_at = functools.cache(lambda to: targets.target_at(to, session))
    wanted = [
        (wanted.bundle, target_at(to))
        for wanted in bundles.bundles_of(args, session)
        for to in targets.destinations(where, wanted.spec, config)
    ]
    sites = sites_of([(bundle.manifest, to) for bundle, to in wanted], where.deployment)
    return [
        push_and_tell(
            bundle,
            site,
            to,
            session.reporter,
            activate=targets.activates(where, to.domain, config),
            dry_run=args.dry_run,
        )
        for (bundle, to), site in zip(wanted, sites, strict=True)
    ]
