"""Ships a step's output into Metaflow's datastore while the step runs.

What Metaflow's client shows as `Task.stdout` is a file of lines in the format of metaflow.mflog,
which is written again as a whole each time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

_STREAMS = ("stdout", "stderr")
_SOURCE = "task"  # metaflow.mflog.TASK_LOG_SOURCE
_IN_MEMORY = 1024 * 1024
_LONGEST_LINE = 1024 * 1024
_SHOWN = 1024


@dataclass(frozen=True, slots=True)
class LogDestination:
    """The attempt of a task whose logs these are, and the datastore that it lies in."""

    flow: str
    run: str
    step: str
    task: str
    attempt: int
    datastore: str
    root: str


class Stream:
    """One of the two outputs: passed on at once, and kept by lines with the time of each."""

    def __init__(self, forward: int, kept: BinaryIO) -> None:
        self.kept = kept
        self._forward = forward
        self._rest = b""
        self._end = b""
        self._count = 0

    def feed(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody reads it: the datastore's copy still counts
            _write_all(self._forward, data)
        self._end = (self._end + data)[-_SHOWN:]
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._keep(lines)
        if len(self._rest) > _LONGEST_LINE:
            self.finish()

    def finish(self) -> None:
        """Keep what came after the last line's end."""
        if self._rest:
            self._keep([self._rest])
            self._rest = b""

    def end(self) -> str:
        """The last that was written, whole lines where it is long."""
        lines = self._end.decode("utf-8", "replace").splitlines()
        return "\n".join(lines[len(self._end) == _SHOWN :])

    def _keep(self, lines: Sequence[bytes]) -> None:
        mflog: Any = import_module("metaflow.mflog.mflog")
        now = datetime.now(timezone.utc)
        text = b"".join(
            # Metaflow sorts lines of one time by their ids, which it would draw.
            mflog.decorate(_SOURCE, _readable(line) + b"\n", now=now, lineid=b"%032x" % number)
            for number, line in enumerate(lines, self._count)
        )
        self._count += len(lines)
        with contextlib.suppress(OSError):  # a full disk must not end the step
            self.kept.write(text)


class Shipper:
    """Saves the two streams of a step: now and then from a thread, and at the end."""

    def __init__(self) -> None:
        # No TemporaryDirectory: the child would remove it when it ends.
        self._folder = Path(tempfile.mkdtemp(prefix="mfbuild-logs-"))
        self.stdout, self.stderr = (
            Stream(number, (self._folder / name).open("wb", buffering=0))
            for number, name in enumerate(_STREAMS, 1)
        )
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._saved = (0, 0)

    def start(self, destination: LogDestination) -> None:
        """Begin to save, once it is known where to."""
        self._thread = threading.Thread(target=self._run, args=(destination,), daemon=True)
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether it was ever known where to save them."""
        return self._thread is not None

    def finish(self) -> None:
        """Save all of it, unless the step ended before it was known where to."""
        self.stdout.finish()
        self.stderr.finish()
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.stdout.kept.close()
        self.stderr.kept.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, destination: LogDestination) -> None:
        mflog: Any = import_module("metaflow.mflog")
        begin = time.monotonic()
        while not self._ended.wait(mflog.update_delay(time.monotonic() - begin)):
            self._try_to_save(destination)
        self._try_to_save(destination)

    def _try_to_save(self, destination: LogDestination) -> None:
        """A log that cannot be saved is no reason to fail a step."""
        sizes = (self.stdout.kept.tell(), self.stderr.kept.tell())
        if sizes == self._saved:
            return
        try:
            save(destination, {name: self._folder / name for name in _STREAMS})
            self._saved = sizes
        except Exception as error:
            sys.stderr.write(f"the logs could not be saved: {error!r}\n")


def save(destination: LogDestination, files: Mapping[str, Path]) -> None:
    """Write files (by stream: stdout, stderr) as the logs of an attempt."""
    datastores: Any = import_module("metaflow.plugins").DATASTORES
    streamed: Any = import_module("metaflow.util").Path
    storage = next(d for d in datastores if destination.datastore == d.TYPE)
    store: Any = import_module("metaflow.datastore").FlowDataStore
    flow = store(destination.flow, None, storage_impl=storage, ds_root=destination.root)
    task = flow.get_task_datastore(
        destination.run, destination.step, destination.task, destination.attempt, mode="w"
    )
    contents = {
        name: streamed(str(path)) if path.stat().st_size > _IN_MEMORY else path.read_bytes()
        for name, path in files.items()
    }
    task.save_logs(_SOURCE, contents)


def _readable(line: bytes) -> bytes:
    """`line` as UTF-8: Metaflow's client reads no log in which one byte is anything else."""
    return line.decode("utf-8", "replace").encode()


def _write_all(number: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]
