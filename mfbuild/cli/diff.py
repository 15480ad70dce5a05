"""`mfbuild diff`: what differs between two versions of a flow."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from mfbuild.cli import bundles, options, targets
from mfbuild.report import show

if TYPE_CHECKING:
    from mfbuild.build.session import Session
    from mfbuild.push.bundles import Source

EPILOG = """\
examples:
  mfbuild diff TrainFlow@5b0c6c TrainFlow@a1b2c3 -d production
  mfbuild diff TrainFlow .mfbuild/dist/TrainFlow-a1b2c3…   # what is live, and what would be
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Say what differs between two versions: steps, packages, code files, resources, settings. "
        "Prints a line for each difference; nothing where there is none."
    )
    parser.epilog = EPILOG
    for name, text in (("before", "the older"), ("after", "the newer")):
        parser.add_argument(
            name, metavar="FLOW[@VERSION]", help=f"{text} one: registered, or a bundle"
        )
    targets.arguments(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_of(args, targets.workspace(args.before, args.after)) as session:
        from mfbuild.push.diff import changes, contents

        sides = [contents(_bundle(args, session, word)) for word in (args.before, args.after)]
    found = changes(*sides)
    if args.json:
        show(json.dumps({"changes": [asdict(change) for change in found]}))
    elif found:
        show("\n".join(str(change) for change in found))
    else:
        session.reporter.note("no difference")
    return 0


def _bundle(args: argparse.Namespace, session: Session, word: str) -> Source:
    from mfbuild.push.registered import registered_bundle

    if bundles.is_bundle(word):
        return bundles.bundle_at(word, session.config.environ)
    return registered_bundle(*targets.registered(args, session, word))
