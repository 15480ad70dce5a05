"""`mfbuild export`: a flow's registrations as the archive that flytectl takes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mfbuild.cli import bundles, options, targets
from mfbuild.errors import BundleError, UsageError
from mfbuild.files import disk_errors, write_atomically

EPILOG = """\
examples:
  mfbuild export train.py --flytectl -d production -o train.tgz
  flytectl register files --archive train.tgz --project flows --domain production
  mfbuild export --flytectl -d production --blobs s3://bucket/flows -o train.tgz   # no network
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write what `push` would register as a .tgz for `flytectl register files`. The images are "
        "those of the domain's registry; the code is uploaded through Flyte, or written beside the "
        "archive for the place that --blobs names. Prints the archive's path."
    )
    parser.epilog = EPILOG
    bundles.arguments(parser)
    parser.add_argument(
        "--flytectl", action="store_true", required=True, help="the form of the archive"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.tgz")
    parser.add_argument(
        "--blobs",
        metavar="URL",
        help="where the files of FILE.tgz.blobs/ will be: code and plan are not uploaded",
    )
    targets.arguments(parser)
    targets.metaflow_arguments(parser)
    options.building(parser)
    options.cache_flags(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    flows = [word for word in args.what if not word.startswith("oci://")]
    with options.session_for(args, flows) as session:
        from mfbuild.push.export import export

        found = list(bundles.bundles_of(args, session))
        if len(found) != 1:
            raise UsageError(f"one bundle is exported at a time, not {len(found)}")
        (wanted,), where = found, targets.where_of(args, session.config)
        target = targets.only_target(where, session, wanted.spec)
        made = export(wanted.bundle, where.deployment, target, blobs=args.blobs)
    beside = args.output.with_name(f"{args.output.name}.blobs")
    with disk_errors(BundleError, f"writing `{args.output}`", args.output):
        for name, data in made.blobs.items():
            write_atomically(beside / name, data, mode=0o644)
        write_atomically(args.output, made.archive, mode=0o644)
    for note in made.notes:
        session.reporter.warn(note)
    told = {"path": str(args.output), "version": made.version}
    print(json.dumps(told) if args.json else args.output)
    return 0
