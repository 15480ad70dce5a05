"""Options that several verbs share, and what is made from them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from mfbuild.config import Config, find_root, read_config
from mfbuild.errors import UsageError
from mfbuild.report import PlainReporter, reporter


def common(parser: argparse.ArgumentParser) -> None:
    """How work is shown, and where it is kept."""
    parser.add_argument("--json", action="store_true", help="print one JSON object as the result")
    parser.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
    parser.add_argument(
        "--progress",
        choices=("auto", "plain", "tty", "json"),
        default="auto",
        help="how progress is shown on stderr (default: auto)",
    )
    parser.add_argument("--store", help="the store (default: $XDG_CACHE_HOME/mfbuild)")


def building(parser: argparse.ArgumentParser) -> None:
    """What shapes a build."""
    parser.add_argument("-j", "--jobs", type=int, help="actions at once (default: one per CPU)")
    parser.add_argument("--base", help="base image: a folder of images/, or repository@sha256:…")
    parser.add_argument(
        "--platform",
        dest="platforms",
        action="append",
        metavar="OS/ARCH",
        help="platform of the images; repeatable (default: linux/amd64 and linux/arm64)",
    )
    parser.add_argument(
        "--pyc", action="store_true", default=None, help="add a layer of compiled bytecode"
    )
    parser.add_argument(
        "--python", type=Path, help="interpreter that loads the flows (default: this one)"
    )
    parser.add_argument(
        "--refresh", action="store_true", help="evaluate deploy-time parameter defaults again"
    )
    parser.add_argument(
        "--locked", action="store_true", help="fail where BUILD.lock would have to change"
    )


def flows(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The flows to work on, and Metaflow's own options for them."""
    parser.add_argument(
        "flows",
        nargs="+" if required else "*",
        metavar="FLOW",
        help="a flow file, a label (//flows/train.py) or a pattern (//flows/...)",
    )
    parser.add_argument(
        "--flow-option",
        dest="flow_options",
        action="append",
        default=[],
        metavar="WORD",
        help="a top-level option of Metaflow, as `python flow.py` takes it; repeatable "
        "(--flow-option=--config --flow-option=cfg --flow-option=cfg.json)",
    )


def make_reporter(arguments: argparse.Namespace) -> PlainReporter:
    return reporter(arguments.progress, quiet=arguments.quiet)


def workspace_of(words: list[str]) -> Path:
    """The workspace root: the nearest BUILD.toml above the first flow, else that flow's folder.

    A label or a pattern starts from the current folder.
    """
    first = next((Path(w) for w in words if not w.startswith("//")), None)
    here = Path.cwd() if first is None else Path(os.path.abspath(first)).parent  # noqa: PTH100
    return find_root(here) or here


def make_config(arguments: argparse.Namespace, root: Path) -> Config:
    """The Config of the workspace `root`, from its BUILD.toml, the environment and the flags."""
    flags: dict[str, Any] = {
        name: getattr(arguments, name, None)
        for name in ("base", "platforms", "pyc", "jobs", "store")
    }
    if flags["jobs"] is not None and flags["jobs"] < 1:
        raise UsageError(f"`--jobs {flags['jobs']}`: at least one action must run at a time")
    return read_config(root, os.environ, flags, cpus=os.cpu_count() or 1)
