"""The log of a bug: what a report needs, without what the person gave a flow."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from mfbuild import __version__

_HIDDEN = "…"


def write_log(error: Exception, words: Sequence[str], parser: argparse.ArgumentParser) -> Path:
    """Write the log of `error`, which nothing expected, to a file of its own; its path.

    `words` is the command line that `parser` has read from its second word on. It shows the verb,
    the names of mfbuild's own options, and flows, steps and runs. What else there is may be the
    value of a Parameter, and is left out, of the error's message too.
    """
    shown = list(_shown(words, parser))
    hidden = [word for word, as_shown in zip(words, shown, strict=True) if word != as_shown]
    descriptor, name = tempfile.mkstemp(prefix="mfbuild-bug-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log:
        python, machine = platform.python_version(), platform.platform()
        log.write(f"mfbuild {__version__}, Python {python}, {machine}\n")
        log.write(f"command: {' '.join(shown)}\n\n")
        log.writelines(_traceback(error, hidden))
    return Path(name)


def _shown(words: Sequence[str], parser: argparse.ArgumentParser) -> Iterator[str]:
    """Each word as it may be shown; of what follows a foreign option, only names of options."""
    options = parser._option_string_actions
    value_follows = foreign = False
    for word in words:
        name, equals, _ = word.partition("=")
        if word.startswith("-"):
            known = options.get(name)
            value_follows = known is not None and known.nargs != 0 and not equals
            foreign = foreign or known is None
            yield word if known and not equals else f"{name}={_HIDDEN}" if known else _HIDDEN
        else:
            # An address may have a password in it.
            yield _HIDDEN if value_follows or foreign or "://" in word else word
            value_follows = False


def _traceback(error: Exception, hidden: Sequence[str]) -> Iterator[str]:
    """The traceback of `error` and its causes, its messages without the words in `hidden`."""
    values = {part for word in hidden for part in _parts(word) if part}
    for text in traceback.TracebackException.from_exception(error).format():
        if not text.startswith('  File "'):  # else lines of code, which nobody gave
            for value in sorted(values, key=len, reverse=True):
                text = text.replace(value, _HIDDEN)
        yield text


def _parts(word: str) -> Iterator[str]:
    """A word, what is behind its `=`, and both as `repr` writes them."""
    value = word
    while True:
        yield from (value, repr(value)[1:-1])
        _, equals, value = value.partition("=")
        if not equals:
            return
