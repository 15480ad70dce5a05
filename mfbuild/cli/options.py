"""Options that several verbs share, and the session that is made from them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mfbuild import config as policy
from mfbuild.build.session import Options, Session, open_session
from mfbuild.config import Config, config_for, read_config


def common(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    """How work is shown, and where it is kept; `json`: whether the result can be an object."""
    if json:
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object as the result"
        )
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
        "--python",
        type=Path,
        default=Path(sys.executable),
        help="interpreter that loads the flows (default: the one that runs mfbuild)",
    )
    parser.add_argument(
        "--flow-option",
        dest="flow_options",
        action="append",
        default=[],
        metavar="WORD",
        help="a top-level option of Metaflow, as `python flow.py` takes it; repeatable: "
        "--flow-option=--config-value --flow-option=cfg --flow-option='{}'",
    )
    parser.add_argument(
        "--refresh", action="store_true", help="load flows anew, deploy-time defaults with them"
    )


def positive(text: str) -> int:
    """The type of an argument that is a number of things."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number of at least 1")
    return int(text)


def cache_flags(parser: argparse.ArgumentParser) -> None:
    """What `package` and `plan` have besides: what may be reused and what may change."""
    parser.add_argument(
        "--locked", action="store_true", help="fail where BUILD.lock would have to change"
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="run every action again; downloads are kept"
    )


def flows(parser: argparse.ArgumentParser, *, nargs: str = "+") -> None:
    """The flows to work on."""
    parser.add_argument(
        "flows",
        nargs=nargs,
        metavar="FLOW",
        help="a flow file, a label (//flows/train.py) or a pattern (//flows/...)",
    )


def workspace_of(words: Sequence[str]) -> Path:
    """The workspace of a command that names `words` (`config.workspace_of`)."""
    return policy.workspace_of(words, os.environ)


_FLAGS = ("base", "platforms", "pyc", "jobs", "store")
_SHAPE = (*_FLAGS[:3], "python", "flow_options")
"""The flags that shape a bundle."""


def _shape_of(arguments: argparse.Namespace) -> dict[str, object]:
    """The flags that shape a bundle, as JSON; `with_shape` takes them back."""
    given = {name: getattr(arguments, name, None) for name in _SHAPE}
    return {n: str(v) if isinstance(v, Path) else v for n, v in given.items() if v is not None}


def with_shape(arguments: argparse.Namespace, shape: Mapping[str, object]) -> argparse.Namespace:
    """`arguments` with the flags that once shaped a bundle."""
    given = {n: Path(str(v)) if n == "python" else v for n, v in shape.items() if n in _SHAPE}
    return argparse.Namespace(**{**vars(arguments), **given})


def config_of(arguments: argparse.Namespace, words: Sequence[str]) -> Config:
    """The Config of the workspace of `words`, from BUILD.toml, the environment and the flags."""
    return config_for(words, os.environ, _flags(arguments), cpus=os.cpu_count() or 1)


def session_for(
    arguments: argparse.Namespace, words: Sequence[str]
) -> AbstractContextManager[Session]:
    """The session of a command that names `words`, in their workspace."""
    return _opened(arguments, config_of(arguments, words))


def session_of(arguments: argparse.Namespace, root: Path) -> AbstractContextManager[Session]:
    """The session of a command in the workspace `root`."""
    flags = _flags(arguments)
    return _opened(arguments, read_config(root, os.environ, flags, cpus=os.cpu_count() or 1))


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name, None) for name in _FLAGS}


def _opened(arguments: argparse.Namespace, config: Config) -> AbstractContextManager[Session]:
    options = Options(
        python=getattr(arguments, "python", Path(sys.executable)),
        flow_options=tuple(getattr(arguments, "flow_options", ())),
        refresh=getattr(arguments, "refresh", False),
        locked=getattr(arguments, "locked", False),
        fresh=getattr(arguments, "no_cache", False),
        shape=_shape_of(arguments),
        output=getattr(arguments, "bundle_output", None),
        load=getattr(arguments, "load", False),
    )
    return open_session(config, options, progress=arguments.progress, quiet=arguments.quiet)


def is_local_bundle(word: str) -> bool:
    """Whether `word` is a bundle's folder or tar, rather than a flow."""
    path = Path(word)
    return not word.startswith("//") and (path.is_dir() or path.suffix == ".tar")
