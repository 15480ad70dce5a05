"""`mfbuild deactivate`: no version of a flow is live any more."""

from __future__ import annotations

import argparse

from mfbuild.cli import options, targets
from mfbuild.cli.activate import switch

EPILOG = """\
examples:
  mfbuild deactivate TrainFlow -d production
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Make the active version of a flow inactive: its schedule starts nothing."
    parser.epilog = EPILOG
    parser.add_argument("flow", metavar="FLOW", help="a registered name, or the flow's file")
    targets.where(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    return switch(args, active=False)
