"""`mfbuild verify`: whether a bundle is what it says."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mfbuild.bundle.read import read_bundle, verify_bundle
from mfbuild.cli import options
from mfbuild.errors import BundleError

EPILOG = """\
examples:
  mfbuild verify .mfbuild/dist/TrainFlow-5b0c6c1f6ab5…
  mfbuild verify train.tar
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Recompute every digest, size and diffID of a bundle, and its version."
    parser.epilog = EPILOG
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="its folder, or a tar of it")
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    problems = verify_bundle(args.bundle, lambda note: print(f"note: {note}", file=sys.stderr))
    if problems:
        raise BundleError.all_of(problems)
    manifest = read_bundle(args.bundle).manifest
    if args.json:
        print(json.dumps({"flow": manifest.flow, "version": manifest.version}))
    else:
        print(f"{manifest.flow}@{manifest.version}")
    return 0
