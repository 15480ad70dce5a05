"""`mfbuild promote`: a version of one domain, to another: no build, no source tree."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from mfbuild.cli import options, targets
from mfbuild.errors import UsageError
from mfbuild.report import show

EPILOG = """\
examples:
  mfbuild promote TrainFlow@5b0c6c --from staging --to production
  mfbuild promote TrainFlow --from staging --to production --activate   # what is live in staging
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Register a version of one domain in another one, as it is: its images are mounted or "
        "copied between the registries, and nothing is built. Prints flow@version and the images."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "flow",
        metavar="FLOW[@VERSION]",
        help="a registered name; default: its active version, else the newest",
    )
    parser.add_argument(
        "--from", dest="origin", required=True, metavar="DOMAIN", help="where it is"
    )
    parser.add_argument(
        "--to", dest="target", required=True, metavar="DOMAIN", help="where it goes"
    )
    parser.add_argument(
        "-p", "--project", help="the Flyte project (default: [flyte] of BUILD.toml)"
    )
    parser.add_argument(
        "--branch", metavar="NAME", help="the branch there, of a flow with @project"
    )
    parser.add_argument(
        "--production", action="store_true", help="the production branch there, with @project"
    )
    targets.metaflow_arguments(parser)
    parser.add_argument("--activate", action="store_true", help="make it the live version there")
    parser.add_argument("--dry-run", action="store_true", help="print the calls, make none")
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_for(args, []) as session:
        from mfbuild.push.record import site_of
        from mfbuild.push.registered import registered_bundle
        from mfbuild.push.results import push_and_tell

        if args.origin == args.target:
            raise UsageError("`--from` and `--to` are the same domain")
        where = targets.where_of(args, session.config)
        origin, target = (
            targets.only_target(replace(where, domains=(name,)), session)
            for name in (args.origin, args.target)
        )
        bundle = registered_bundle(origin, targets.registered_word(args.flow))
        result = push_and_tell(
            bundle,
            site_of(bundle.manifest, target, where.deployment),
            target,
            session.reporter,
            activate=targets.activates(where, target.domain, session.config),
            dry_run=args.dry_run,
        )
    if args.json:
        show(json.dumps({"pushed": [result.json()]}))
    else:
        for line in result.lines():
            show(line)
    return 0
