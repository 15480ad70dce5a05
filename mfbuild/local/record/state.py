"""The record of a run on disk: what it is, and how each attempt went, readable at any moment.

`<run>/run.json` says what runs and how it ended; it is replaced as a whole. `<run>/journal` gains
a line whenever an attempt starts or ends; a last line that was cut off counts for nothing.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mfbuild.engine.foreign import parse_json
from mfbuild.engine.kept import CHECKSUM, kept_json, parse_kept_json
from mfbuild.errors import Interrupted, MfbuildError, RunError, UsageError, did_you_mean
from mfbuild.files import disk_errors, words_of, write_atomically
from mfbuild.flow.decode import decode
from mfbuild.local.record import lock as hold

RUNS = ".mfbuild/runs"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
RUN_JSON, JOURNAL = "run.json", "journal"
_FORMAT = 2
_NO_TIME = 1e11

Phase = Literal["queued", "running", "succeeded", "failed", "interrupted", "aborted"]
ENDED = ("succeeded", "failed", "interrupted", "aborted")
HERE = "local"
"""The project and the domain of runs of what is registered nowhere."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What run.json holds. `source` is the flow file or the bundle, as an absolute path.

    `run` is Metaflow's run id; `parameters` are as they were given; times are seconds since the
    epoch. A run of what is registered has no `source`, but an `entity`, the text of its identifier,
    and its inputs in a file. `prefix` comes before the names of entities, with @project; `here` is
    the folder in which the run was started by `owner`.
    """

    name: str
    flow: str
    run: str
    source: str
    version: str
    sandbox: str
    began: float
    parameters: Mapping[str, str] = field(default_factory=dict)
    phase: Phase = "running"
    ended: float | None = None
    node: str | None = None
    reason: str | None = None
    project: str = HERE
    domain: str = HERE
    entity: str | None = None
    prefix: str = ""
    owner: str | None = None
    here: str | None = None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A line of the journal: an attempt that started (`running`) or ended, and when (`at`).

    `outputs` is `pod.outputs_digest` of what one that succeeded has left.
    """

    node: str
    attempt: int
    phase: str
    task: str = ""
    seconds: float | None = None
    reason: str | None = None
    at: float | None = None
    outputs: str | None = None


def new_name() -> str:
    """A name for a run: its time, so that names sort, and a little chance."""
    chance = "".join(secrets.choice(_ALPHABET) for _ in range(4))
    return f"r{time.strftime('%y%m%d%H%M%S')}{chance}"


class RunState:
    """A run's folder, locked against a second process for as long as it is open."""

    def __init__(self, folder: Path, info: RunInfo) -> None:
        self.folder, self.info = folder, info
        self._journal = os.open(
            folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
        )
        size = os.fstat(self._journal).st_size
        if size and os.pread(self._journal, 1, size - 1) != b"\n":
            os.write(self._journal, b"\n")  # whoever wrote last was cut off

    @classmethod
    @contextmanager
    def create(cls, runs: Path, info: RunInfo) -> Iterator[RunState]:
        """Begin the record of a new run below `runs`."""
        folder = runs / info.name
        with _disk(folder):
            folder.mkdir(parents=True)
            write_info(folder, info)
        with cls.reopen(folder) as state:
            yield state

    @classmethod
    @contextmanager
    def reopen(cls, folder: Path) -> Iterator[RunState]:
        """Go on with the record in `folder`; RunError if another process is at it."""
        info = read_info(folder)
        with _disk(folder):
            lock = hold.take(folder)
        if lock is None:
            raise RunError(f"the run `{info.name}` is running")
        with cls._locked(folder, lock) as state:
            yield state

    @classmethod
    @contextmanager
    def adopt(cls, folder: Path, lock: int) -> Iterator[RunState]:
        """Go on with the record in `folder`, whose lock was taken for this process."""
        with _disk(folder):
            hold.adopt(folder, lock)
        with cls._locked(folder, lock) as state:
            yield state

    @classmethod
    @contextmanager
    def _locked(cls, folder: Path, lock: int) -> Iterator[RunState]:
        try:
            info = read_info(folder)
            with _disk(folder):
                state = cls(folder, info)
            try:
                yield state
            finally:
                os.close(state._journal)
        finally:
            os.close(lock)

    @property
    def is_resumed(self) -> bool:
        """Whether the run has begun before."""
        return os.fstat(self._journal).st_size > 0

    def update(self, **changes: Any) -> None:
        """Change run.json."""
        self.info = replace(self.info, **changes)
        with _disk(self.folder):
            write_info(self.folder, self.info)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write down what ends the run before its end: an error, ^C, or a cause that was given."""
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            cause = hold.cause_of(self.folder)
            phase = "interrupted" if cause is None else "aborted"
            self.update(phase=phase, ended=time.time(), reason=cause)
            raise
        except MfbuildError as error:
            if self.info.phase not in ENDED:
                self.update(phase="failed", ended=time.time(), reason=str(error))
            raise

    def note(self, entry: JournalEntry) -> None:
        """Append to the journal, with the time."""
        told = asdict(replace(entry, at=round(time.time(), 3)))
        line = kept_json(self.folder.name, {k: v for k, v in told.items() if v not in (None, "")})
        with _disk(self.folder):
            os.write(self._journal, f"{line}\n".encode())


def write_info(folder: Path, info: RunInfo) -> None:
    """Write run.json; OSError."""
    text = kept_json(folder.name, {"format": _FORMAT, **asdict(info)}, indent=1)
    write_atomically(folder / RUN_JSON, f"{text}\n".encode())


def read_info(folder: Path) -> RunInfo:
    """The run.json of `folder`; RunError if it cannot be read."""
    try:
        info = decode(RunInfo, _record(folder), exact=False)
        if not all(0 <= time < _NO_TIME for time in (info.began, info.ended or 0)):
            raise ValueError("it is not one that mfbuild has written")
        return info
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"the record of the run cannot be read: {words_of(error)}", where=str(folder)
        ) from error


def _record(folder: Path) -> dict[str, Any]:
    """The fields of run.json; ValueError. Format 1 had no checksum, and `place` for `sandbox`."""
    data = (folder / RUN_JSON).read_bytes()
    value = parse_json(data)
    if value["format"] == 1 and CHECKSUM not in value:
        return {"sandbox": value.pop("place"), **value}
    value = parse_kept_json(folder.name, data)
    if value["format"] != _FORMAT:
        raise ValueError("it has another format")
    return {k: v for k, v in value.items() if k != "format"}


@contextmanager
def damaged_left_out(folder: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Let a list go on without the run in `folder`, and warn of it, where its files are damaged."""
    try:
        yield
    except MfbuildError as error:
        where = error.problems[0].where or folder
        warn(f"left out the run `{folder.name}`: {error}, at {where}; remove {folder} to forget it")


def read_infos(runs: Path, warn: Callable[[str], None]) -> dict[Path, RunInfo]:
    """The record of every run below `runs`, by its folder; `warn` is told of each damaged one."""
    found = {}
    for path in sorted(runs.glob(f"*/{RUN_JSON}")):
        with damaged_left_out(path.parent, warn):
            found[path.parent] = read_info(path.parent)
    return found


def read_journal(folder: Path) -> list[JournalEntry]:
    """Every whole line of the journal in `folder`."""
    try:
        lines = (folder / JOURNAL).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            value = parse_json(line)
            if CHECKSUM in value:  # lines of format 1 have none
                value = parse_kept_json(folder.name, line)
            entries.append(JournalEntry(**value))
        except (ValueError, TypeError):  # a line that is damaged, or that a full disk cut off
            continue
    return entries


def find_run(
    runs: Path, name: str | None, source: Path | None = None, *, warn: Callable[[str], None]
) -> Path:
    """The folder of a run by its name, its Metaflow run id, or the beginning of either.

    It may be the folder itself. Without a name it is the latest one, of the flow or bundle
    `source` if that is given; `warn` is told of each run whose record is damaged. UsageError if
    there is none.
    """
    if name and "/" in name and (Path(name) / RUN_JSON).is_file():
        return Path(name).absolute()
    if not name:
        infos = read_infos(runs, warn)
        found = [f for f in infos if source is None or infos[f].source == str(source)]
        if not found:
            of_flow = f" of `{source.name}`" if source else ""
            raise UsageError(f"there is no run{of_flow} below `{runs}`")
        return max(found, key=lambda folder: infos[folder].began)
    folders = sorted(path.parent for path in runs.glob(f"*/{RUN_JSON}"))
    wanted = name.rpartition("/")[2].removeprefix("flyte-")
    found = [folder for folder in folders if folder.name.startswith(wanted)]
    exact = [folder for folder in found if folder.name == wanted]
    if len(exact or found) != 1:
        hint = did_you_mean(wanted, [f.name for f in folders[-10:]]) if folders else None
        raise UsageError(f"there is no one run `{name}` below `{runs}`", hint=hint)
    return (exact or found)[0]


_disk = partial(disk_errors, RunError, "cannot write the record of the run")
"""A disk that refuses is the run's failure, and no bug."""
