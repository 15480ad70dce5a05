"""`mfbuild promote`: a version of one domain, to another: no build, no source tree."""

from __future__ import annotations

import argparse
import json

from mfbuild.cli import options, targets
from mfbuild.cli.push import result_json, result_lines, tell
from mfbuild.errors import UsageError

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
    targets.metaflow(parser)
    parser.add_argument("--activate", action="store_true", help="make it the live version there")
    parser.add_argument("--dry-run", action="store_true", help="print the calls, make none")
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    import time

    with options.session_of(args, options.workspace_of([])) as session:
        from mfbuild.push.dry_run import DryRun
        from mfbuild.push.promote import promote

        if args.origin == args.target:
            raise UsageError("`--from` and `--to` are the same domain")
        began = time.monotonic()
        origin, target = (
            targets.target(args, session, name) for name in (args.origin, args.target)
        )
        source = targets.deployment(args, session, origin, args.origin, None)
        to = targets.deployment(args, session, target, args.target, None)
        dry = DryRun(target) if args.dry_run else None
        pushed = promote(
            targets.registered_word(args.flow),
            (origin, source.project, args.origin),
            dry.whole() if dry else target,
            to,
            activate=args.activate or session.config.domains[args.target].activate,
        )
        calls = dry.calls if dry else None
        tell(session.reporter, target, pushed, calls, time.monotonic() - began)
    if args.json:
        print(json.dumps({"pushed": [result_json(target, pushed, calls)]}))
    else:
        for line in result_lines(pushed, calls):
            print(line)
    return 0
