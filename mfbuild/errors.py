"""Errors that a person can act on, and the exit code that each kind ends with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: a lower-case sentence, where it is, and what to do about it.

    `message` quotes the offending value in backticks; `where` is `file` or `file:line`.
    """

    message: str
    where: str | None = None
    hint: str | None = None


class MfbuildError(Exception):
    """Base of all expected failures; carries every problem of one kind that was found."""

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.problems: tuple[Problem, ...] = (Problem(message, where, hint),)

    @classmethod
    def all_of(cls, problems: Sequence[Problem]) -> MfbuildError:
        """One error that reports all of `problems` (at least one)."""
        first = problems[0]
        error = cls(first.message, where=first.where, hint=first.hint)
        error.problems = tuple(problems)
        return error

    @classmethod
    def raise_for(cls, problems: Iterable[Problem]) -> None:
        """Raise the error that reports all of `problems`, if there is any."""
        if found := tuple(problems):
            raise cls.all_of(found)


class UsageError(MfbuildError):
    """The command line, BUILD.toml or another setting is wrong (exit 2)."""

    exit_code = 2


class FlowError(MfbuildError):
    """The flow file cannot be loaded, or asks for something that is not supported."""


class ResolveError(MfbuildError):
    """Packages cannot be resolved, or the lock does not cover what is asked."""


class FetchError(MfbuildError):
    """A package, blob or index cannot be downloaded, or its content is not what was promised."""


class ActionError(MfbuildError):
    """An action of the build failed."""


class StoreError(MfbuildError):
    """The store cannot be read or written."""


class BundleError(MfbuildError):
    """A bundle is damaged or is not a bundle."""


class RunError(MfbuildError):
    """A run of a flow failed, or cannot be started or resumed."""


class PushError(MfbuildError):
    """An image, a blob or a registration cannot be put where it belongs."""


class FlyteError(MfbuildError):
    """Flyte cannot be reached, refuses, or has other content than it should."""


class Interrupted(MfbuildError):
    """The person ended the work (^C)."""

    exit_code = 130


def named(names: Sequence[str], most: int = 3) -> str:
    """The first of `names`, and how many there are besides: `` `a`, `b`, `c` and 2 more ``."""
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if names[most:] else "")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint that names the closest of `known`, or all of them."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known are: {', '.join(known)}"


# C0 and C1 controls but tab and line feed, and what turns the direction of text around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` with what could steer a terminal escaped: names may be a stranger's."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
