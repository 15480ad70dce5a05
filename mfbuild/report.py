"""What people and machines see while work goes on: plain lines, a live terminal, or JSON."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from mfbuild.errors import printable

_REDRAW = 0.1
_SMALL = 1_000_000
"""Transfers below this many bytes are counted in the summary, and have no line of their own."""


def human_bytes(count: float) -> str:
    """`count` bytes as people read it: `12.3 MB` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def show(text: str) -> None:
    """Print a result on stdout; names in it may be a stranger's."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(slots=True)
class _Line:
    """One running action."""

    text: str
    began: float
    done: int = 0
    total: int | None = None


@dataclass(slots=True)
class Tally:
    """How many actions ended in which way (`ran`, `cached`, `fetched`, `failed`)."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, how: str) -> None:
        self.counts[how] = self.counts.get(how, 0) + 1

    def __str__(self) -> str:
        """`14 actions (11 cached), 3 downloads`."""
        ran, cached = self.counts.get("ran", 0), self.counts.get("cached", 0)
        fetched = self.counts.get("fetched", 0)
        text = f"{counted(ran + cached, 'action')} ({cached} cached)"
        return text + (f", {counted(fetched, 'download')}" if fetched else "")


class PlainReporter:
    """One line when an action ends; for logs and CI."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._lock = threading.Lock()
        self._running: dict[str, _Line] = {}
        self.tally = Tally()

    def started(self, label: str, description: str) -> None:
        with self._lock:
            self._running[label] = _Line(description, self._clock())

    def progress(self, label: str, done: int, total: int | None) -> None:
        with self._lock:
            if line := self._running.get(label):
                line.done, line.total = done, total

    def finished(self, label: str, how: str, seconds: float) -> None:
        with self._lock:
            line = self._running.pop(label, None)
            self.tally.add(how)
            small = how in _TRANSFERS and line is not None and line.done < _SMALL
            if line and how != "cached" and not small:
                size = f"{human_bytes(line.done)}, " if line.done else ""
                self._say(f"{_PAST[how]} {label} ({size}{seconds:.1f} s)")

    def warn(self, message: str) -> None:
        with self._lock:
            self._say(f"warning: {message}")

    def note(self, message: str) -> None:
        """A line about the work that is no warning."""
        with self._lock:
            self._say(message)

    def board(self, lines: Callable[[], list[str]]) -> bool:
        """Keep `lines` in view, below everything else; whether that is possible here."""
        return False

    def close(self) -> None:
        """Nothing more comes."""

    def _say(self, text: str) -> None:
        print(printable(text), file=self._stream, flush=True)


_TRANSFERS = ("fetched", "pushed", "mounted")
_AS_IT_IS = ("done", "aborted", *_TRANSFERS)
_PAST = {"ran": "made", "failed": "FAILED"} | {how: how for how in _AS_IT_IS}


class TtyReporter(PlainReporter):
    """A status line per running action, redrawn in place, above which finished ones scroll by."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._drawn = 0
        self._last = 0.0
        self._board: Callable[[], list[str]] = list

    def started(self, label: str, description: str) -> None:
        super().started(label, description)
        self._redraw(force=True)

    def progress(self, label: str, done: int, total: int | None) -> None:
        super().progress(label, done, total)
        self._redraw()

    def finished(self, label: str, how: str, seconds: float) -> None:
        super().finished(label, how, seconds)
        self._redraw(force=True)

    def board(self, lines: Callable[[], list[str]]) -> bool:
        self._board = lines
        self._redraw(force=True)
        return True

    def close(self) -> None:
        with self._lock:
            self._erase()

    def _say(self, text: str) -> None:
        self._erase()
        super()._say(text)

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._stream.flush()
            self._drawn = 0

    def _redraw(self, *, force: bool = False) -> None:
        with self._lock:
            now = self._clock()
            if not force and now - self._last < _REDRAW:
                return
            self._last = now
            self._erase()
            size = shutil.get_terminal_size()
            running = [_status(label, line, now) for label, line in self._running.items()]
            lines = [
                printable(line)[: size.columns - 1]
                for line in (*running, *self._board())[: size.lines - 2]
            ]
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()
            self._drawn = len(lines)


def _status(label: str, line: _Line, now: float) -> str:
    done = human_bytes(line.done) if line.done else ""
    if line.done and line.total:
        done += f" of {human_bytes(line.total)}"
    return f"  {now - line.began:5.1f} s  {label}  {line.text}  {done}"


class JsonReporter(PlainReporter):
    """One JSON object per event, for machines."""

    def started(self, label: str, description: str) -> None:
        super().started(label, description)
        self._event(event="started", label=label, description=description)

    def finished(self, label: str, how: str, seconds: float) -> None:
        with self._lock:
            line = self._running.pop(label, None)
            self.tally.add(how)
        done = line.done if line else 0
        self._event(event="finished", label=label, how=how, seconds=round(seconds, 3), bytes=done)

    def warn(self, message: str) -> None:
        self._event(event="warning", message=message)

    def note(self, message: str) -> None:
        self._event(event="note", message=message)

    def _event(self, **fields: object) -> None:
        with self._lock:
            self._say(json.dumps(fields))


def reporter(progress: str, *, quiet: bool, stream: TextIO | None = None) -> PlainReporter:
    """The reporter for `--progress auto|plain|tty|json`; `auto` is tty on a terminal, else plain.

    `quiet` keeps warnings and drops the rest.
    """
    stream = stream or sys.stderr
    if quiet:
        return QuietReporter(stream)
    if progress == "auto":
        progress = "tty" if stream.isatty() else "plain"
    kinds = {"plain": PlainReporter, "tty": TtyReporter, "json": JsonReporter}
    return kinds[progress](stream)


class QuietReporter(PlainReporter):
    """Warnings only."""

    def finished(self, label: str, how: str, seconds: float) -> None:
        self.tally.add(how)

    def note(self, message: str) -> None:
        """Not asked for."""
