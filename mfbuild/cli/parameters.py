"""A flow's Parameters on a command line: what argparse does not know, and --param."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mfbuild.errors import UsageError

if TYPE_CHECKING:
    from mfbuild.build.session import Session
    from mfbuild.flow.spec import ParameterSpec


def parameter_option(parser: argparse.ArgumentParser) -> None:
    """A Parameter by --param; `parameter_pairs` reads it, and those that are left over."""
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a Parameter of the flow; --NAME VALUE does the same after FLOW",
    )


def parameter_pairs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The Parameters of a command line, (name, text) each: of --param, and what was left over."""
    return [*_pairs(args.param), *_words(args.rest)]


def tell_namesakes(
    args: argparse.Namespace, session: Session, parameters: Iterable[ParameterSpec]
) -> None:
    """Warn of Parameters that have the name of an option which was given: it was meant for them."""
    options = {word[2:].partition("=")[0] for word in args.words if word.startswith("--")}
    given = {name for name, _ in parameter_pairs(args)}
    for name in sorted({parameter.name for parameter in parameters} & options - given):
        session.reporter.warn(
            f"`--{name}` is an option of mfbuild: `--param {name}=…` gives the flow's Parameter"
        )


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """`NAME=VALUE` of each --param."""
    if wrong := [word for word in words if "=" not in word]:
        raise UsageError(f"`--param {wrong[0]}` is not NAME=VALUE")
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def _words(words: Sequence[str]) -> list[tuple[str, str]]:
    """`--NAME VALUE` and `--NAME=VALUE` of what argparse does not know."""
    found, waiting = [], list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            hint = "parameters come after FLOW, as `--NAME VALUE`"
            raise UsageError(f"unexpected argument `{word}`", hint=hint)
        if not equals and not waiting:
            raise UsageError(f"`{word}` is no option, or a parameter without its value")
        found.append((name[2:], value if equals else waiting.pop(0)))
    return found
