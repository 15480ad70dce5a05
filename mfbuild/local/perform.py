"""Performs a run in its place: starts its launchers early, ends on SIGTERM, leaves nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mfbuild.local.executor import Place, Processes
from mfbuild.local.packaged import Packaged
from mfbuild.local.parameters import Value
from mfbuild.local.places import Request
from mfbuild.local.state import RunState
from mfbuild.report import PlainReporter

if TYPE_CHECKING:
    from mfbuild.local.program import Program


class Runnable(Protocol):
    """What is to be run, wherever its entities come from."""

    @property
    def packaged(self) -> Packaged:
        """The flow, and the images of its steps."""

    @property
    def first_image(self) -> str:
        """What the first task calls its image."""

    def program(self, folder: Path) -> Program:
        """The workflow and its inputs, with what it needs of files laid into `folder`; OSError."""


@dataclass(frozen=True, slots=True)
class Given:
    """A packaged flow with the Parameters of a run; `prefix` comes before its entities' names."""

    packaged: Packaged
    parameters: Mapping[str, Value]
    prefix: str

    @property
    def first_image(self) -> str:
        return self.packaged.image_of(self.packaged.spec.start)

    def program(self, folder: Path) -> Program:
        from mfbuild.local.program import program_of

        return program_of(self.packaged, self.prefix, self.parameters, folder)


def perform(
    state: RunState, runnable: Runnable, request: Request, place: Place, reporter: PlainReporter
) -> None:
    """Run what `state` is the record of, as far as it is not done.

    RunError if it fails, Interrupted on ^C and SIGTERM; nothing that was started runs on.
    """
    executor = Processes(place, state.folder / "launchers", reporter.note)
    with terminable(), closing(executor):
        if not (request.step or state.is_resumed):
            executor.ahead(runnable.first_image)
        # What follows takes a while to import; the launcher starts meanwhile.
        from mfbuild.local.run import run

        run(state, runnable, request, executor, reporter)
    place.forget(state.folder)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends what was started, as ^C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
