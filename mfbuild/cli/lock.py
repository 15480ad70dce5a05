"""`mfbuild lock`: BUILD.lock and the locks of base images, written, moved, brought or exported."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mfbuild.build import relock
from mfbuild.build.load import load
from mfbuild.build.lock import lock as read_locked
from mfbuild.build.lock import requests_of
from mfbuild.build.session import LOCK, Session
from mfbuild.cli import options
from mfbuild.errors import UsageError
from mfbuild.files import write_atomically
from mfbuild.python.lockfile import read_lock
from mfbuild.python.model import Lock, Request
from mfbuild.python.resolve import Upgrade
from mfbuild.report import counted

EPILOG = """\
examples:
  mfbuild lock                          # every flow of the workspace; pins that hold stay
  mfbuild lock --upgrade                # move every pin
  mfbuild lock --upgrade pandas         # move one, and what it needs
  mfbuild lock train.py                 # one flow; the answers for others are kept
  mfbuild lock --images                 # renew the locks of the base images
  mfbuild lock --from pylock.toml       # take pins from PEP 751, requirements.txt or a PEX lock
  mfbuild lock --export pylock -o DIR   # a pylock.toml for each environment
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"Resolve what every step needs, for every platform, and write {LOCK} beside BUILD.toml."
    )
    parser.epilog = EPILOG
    options.flows(parser, nargs="*")
    parser.add_argument(
        "--upgrade",
        nargs="?",
        const="",
        action="append",
        metavar="PACKAGE",
        help="let pins move: this package's (repeatable), or without a name all",
    )
    parser.add_argument("--images", action="store_true", help="renew the base images' locks alone")
    parser.add_argument(
        "--allow-older",
        action="store_true",
        help="with --images: let a lock go back to an older release of a Debian suite",
    )
    parser.add_argument("--from", dest="brought", type=Path, metavar="FILE", help="take its pins")
    parser.add_argument("--export", choices=("pylock",), help="write PEP 751 files, change nothing")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="where --export writes")
    options.building(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    upgrade = _upgrade(args)
    if args.allow_older and not args.images:
        raise UsageError("`--allow-older` is for the locks of images", hint="add `--images`")
    root = options.workspace_of(args.flows)
    with options.session_of(args, root) as session:
        if args.images:
            return _images(args, session)
        flows = load(session, args.flows or ["//..."])
        asked = requests_of(flows)
        if args.export:
            return _export(args, session, read_locked(session, flows), asked)
        found = read_lock(session.lock_file)
        if args.brought:
            lock = relock.brought(session.lock_file, args.brought, asked, found, session.config)
        else:
            keep = bool(args.flows)
            lock = relock.renewed(
                session.lock_file, asked, found, upgrade, session.config, keep=keep
            )
        for line in relock.differences(found, lock):
            session.reporter.note(line)
    _say(args, session, lock)
    return 0


def _upgrade(args: argparse.Namespace) -> Upgrade:
    """What --upgrade names; a flow after a bare `--upgrade` is a flow."""
    words: list[str] = args.upgrade or []
    flows = [w for w in words if w.startswith("//") or w.endswith(".py")]
    args.flows += flows
    packages = frozenset(w for w in words if w and w not in flows)
    return Upgrade(everything=bool(words) and not packages, packages=packages)


def _images(args: argparse.Namespace, session: Session) -> int:
    names = relock.image_names(session.config)
    paths = relock.lock_base_images(
        names, session.config, session.reporter.note, allow_older=args.allow_older
    )
    _say_paths(args, "images", paths)
    return 0


def _export(
    args: argparse.Namespace, session: Session, lock: Lock, asked: dict[Request, str]
) -> int:
    texts = relock.exported(lock, asked, session.config)
    if args.output is None:
        if args.json:
            raise UsageError("`--json` needs a folder for what is exported", hint="give one by -o")
        if len(texts) != 1:
            raise UsageError(f"there are {len(texts)} environments", hint="give a folder with -o")
        print(next(iter(texts.values())), end="")
        return 0
    paths = {args.output / f"pylock.{name}.toml": text for name, text in texts.items()}
    for path, text in paths.items():
        write_atomically(path, text.encode(), mode=None)
    _say_paths(args, "pylocks", list(paths))
    return 0


def _say_paths(args: argparse.Namespace, name: str, paths: Sequence[Path]) -> None:
    words = [str(path) for path in paths]
    print(json.dumps({name: words}) if args.json else "\n".join(words))


def _say(args: argparse.Namespace, session: Session, lock: Lock) -> None:
    wheels = set(lock.wheels())
    environments = counted(len(lock.environments), "environment")
    session.reporter.note(f"locked {environments}, {counted(len(wheels), 'wheel')}")
    path = str(session.lock_file)
    print(json.dumps({"lock": path, "wheels": len(wheels)}) if args.json else path)
