"""`mfbuild verify`: whether a bundle is what it says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mfbuild.bundle.read import read_bundle, verify_bundle
from mfbuild.cli import options
from mfbuild.errors import BundleError
from mfbuild.report import reporter, show

EPILOG = """\
examples:
  mfbuild verify .mfbuild/dist/TrainFlow-5b0c6c1f6ab5…
  mfbuild verify train.tar
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Recompute every digest, size and diffID of a bundle, and its version."
    parser.epilog = EPILOG
    parser.add_argument(
        "bundles", type=Path, nargs="+", metavar="BUNDLE", help="its folder, or a tar of it"
    )
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    note = reporter(args.progress, quiet=args.quiet).note
    problems = [p for path in args.bundles for p in verify_bundle(path, note)]
    BundleError.raise_for(problems)
    manifests = [read_bundle(path).manifest for path in args.bundles]
    if args.json:
        found = [{"flow": m.flow, "version": m.version} for m in manifests]
        show(json.dumps({"bundles": found}))
    else:
        show("\n".join(f"{m.flow}@{m.version}" for m in manifests))
    return 0
