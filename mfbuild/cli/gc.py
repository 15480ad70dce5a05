"""`mfbuild gc`: makes the store smaller."""

from __future__ import annotations

import argparse
import json
import re
import time

from mfbuild.cli import options
from mfbuild.engine.gc import collect
from mfbuild.engine.store import Store
from mfbuild.errors import UsageError
from mfbuild.report import counted, human_bytes, show

EPILOG = """\
examples:
  mfbuild gc --max-size 10G
  mfbuild gc --max-age 30d
"""

_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TIMES = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Remove what was least recently used from the store. Bundles stay whole."
    parser.epilog = EPILOG
    parser.add_argument("--max-size", type=size, metavar="SIZE", help="keep this much: 500M, 10G")
    parser.add_argument("--max-age", type=age, metavar="AGE", help="keep what was used within: 30d")
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    if args.max_size is None and args.max_age is None:
        raise UsageError("nothing says what to keep", hint="give --max-size, --max-age or both")
    config = options.config_of(args, [])
    with Store.open(config.store) as store:
        done = collect(store, max_size=args.max_size, max_age=args.max_age, now=time.time())
    if args.json:
        show(json.dumps({"freed": done.freed, "kept": done.kept, "removed": done.removed}))
    else:
        freed, kept = human_bytes(done.freed), human_bytes(done.kept)
        removed = f"{counted(done.removed, 'file')} ({freed})"
        show(f"removed {removed} from {config.store}; {kept} are left")
    return 0


def size(text: str) -> int:
    """Bytes from `10G` (powers of 1000); argparse reports what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"`{text}` is not a size like `10G`")
    return int(float(found[1]) * _SIZES[found[2].upper()])


def age(text: str) -> float:
    """Seconds from `30d`; argparse reports what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"`{text}` is not an age like `12h` or `30d`")
    return float(found[1]) * _TIMES[found[2]]
