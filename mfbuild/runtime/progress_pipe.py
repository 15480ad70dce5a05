"""What the step's process tells its parent: where its logs belong, and that it was not cut off."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from .logs import LogDestination, Shipper

_FINISHED = b"finished"


class Teller:
    """The child's end, which writes lines to a file descriptor."""

    def __init__(self, number: int) -> None:
        self._number = number

    def started(self, destination: LogDestination) -> None:
        os.write(self._number, json.dumps(asdict(destination)).encode("ascii") + b"\n")

    def finished(self) -> None:
        """All is done and written. Without it the exit code 0 is the user's doing: sys.exit()."""
        os.write(self._number, _FINISHED + b"\n")


class Listener:
    """The parent's end: starts to ship the logs once it is known where to."""

    def __init__(self, shipper: Shipper) -> None:
        self.finished = False
        self._shipper = shipper
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == _FINISHED:
                self.finished = True
            else:
                self._shipper.start(LogDestination(**json.loads(line)))
