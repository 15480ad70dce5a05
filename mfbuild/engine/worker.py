"""What the threads of a build do: one action, or one download, at a time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mfbuild.engine.cache import Cache
from mfbuild.engine.events import How, Reporter
from mfbuild.engine.inputs import FileInput, StoredInput
from mfbuild.engine.key import Record
from mfbuild.engine.model import (
    Action,
    ActionResult,
    Blob,
    Digest,
    Fetcher,
    Source,
    Tool,
    Work,
)
from mfbuild.engine.plan import is_local
from mfbuild.engine.store import Store, blob_of, is_disk_trouble, store_error
from mfbuild.errors import FetchError, Interrupted, MfbuildError, Problem, StoreError

_T = TypeVar("_T")
_PAUSE = 0.05  # seconds between looks at whether another process is done


@dataclass(frozen=True, slots=True)
class ActionJob:
    """An action to run: what enters its key, with the reasons it runs for, and its inputs."""

    action: Action
    record: Record
    inputs: Mapping[str, Blob]


@dataclass(slots=True)
class Worker:
    """What the threads of one build share. With `fresh`, only what this build made is reused."""

    tools: Mapping[str, Tool]
    fetchers: Mapping[str, Fetcher]
    store: Store
    cache: Cache
    reporter: Reporter
    fresh: bool
    cancelled: threading.Event = field(default_factory=threading.Event)
    _made: dict[Digest, ActionResult] = field(default_factory=dict, init=False)  # by key

    def lookup(self, key: Digest) -> ActionResult | None:
        """The result for a key, as far as this build may reuse it."""
        return self._made.get(key) if self.fresh else self.cache.get(key)

    def act(self, job: ActionJob) -> ActionResult:
        """Make the outputs of an action, all inputs of which are there, and remember them."""

        def make() -> tuple[How, ActionResult]:
            key = job.record.key()
            with self.store.locked(key, self._pause):
                # Another process, or another label with the same key, may have been quicker.
                result = self.lookup(key)
                how: How = "cached"
                if not result or not all(map(self.store.has, result.outputs.values())):
                    how, result = "ran", self._make(job)
                    self._keep(job.action.label, key, result)
            self.cache.remember(job.action.label, job.record)
            return how, result

        with _blamed(job.action, self.store.root):
            return self._reported(job.action.label, job.action.description, make)

    def fetch(self, source: Source) -> Blob:
        """Download a source into the store; FetchError if it is not what its digest promises."""

        def fetch() -> tuple[How, Blob]:
            with self.store.locked(source.blob.digest, self._pause):
                if self.store.has(source.blob):
                    return "cached", source.blob
                with self.store.temporary() as directory, _disk_trouble(self.store.root):
                    self._download(source, directory / "download")
            return "fetched", source.blob

        return self._reported(source.locator, f"download {source.locator}", fetch)

    def _make(self, job: ActionJob) -> ActionResult:
        action = job.action
        with self.store.temporary() as directory:
            made, scratch = directory / "out", directory / "scratch"
            made.mkdir()
            scratch.mkdir()
            work = Work(
                params=json.loads(action.params),
                inputs=dict(self._inputs(job)),
                outputs={name: made / name for name in action.outputs},
                scratch=scratch,
                tick=self._ticker(action.label, None),
            )
            try:
                self.tools[action.tool].run(work)
            finally:
                for given in work.inputs.values():
                    if isinstance(given, FileInput):
                        given.settle()
            found = sorted(path.name for path in made.iterdir())
            if found != list(action.outputs):
                raise AssertionError(f"it made {found}, not {list(action.outputs)}")
            return ActionResult({name: self.store.add_file(made / name) for name in found})

    def _inputs(self, job: ActionJob) -> Iterator[tuple[str, StoredInput | FileInput]]:
        for name, given in job.action.inputs:
            if isinstance(given, Source) and is_local(given):
                yield name, FileInput.of(given, self._check)
            else:
                yield name, StoredInput(job.inputs[name], self.store, self._check)

    def _keep(self, label: str, key: Digest, result: ActionResult) -> None:
        if self.cache.get(key) not in (None, result):
            self.reporter.warn(f"`{label}` made other bytes than before from the same inputs")
        self.cache.put(key, result)
        self._made[key] = result

    def _download(self, source: Source, target: Path) -> None:
        fetch = self.fetchers[source.locator.partition(":")[0]]
        fetch(source, target, self._ticker(source.locator, source.blob.size))
        found = blob_of(target)
        if found != source.blob:
            raise FetchError(
                f"`{source.locator}` is not what was promised: expected `{source.blob.digest}` "
                f"({source.blob.size} bytes), found `{found.digest}` ({found.size} bytes)"
            )
        self.store.place(target, found)

    def _reported(self, label: str, description: str, job: Callable[[], tuple[How, _T]]) -> _T:
        self._check()
        how: How = "failed"
        began = time.monotonic()
        self.reporter.started(label, description)
        try:
            how, value = job()
        finally:
            self.reporter.finished(label, how, time.monotonic() - began)
        return value

    def _ticker(self, label: str, total: int | None) -> Callable[[int], None]:
        done = 0

        def tick(count: int) -> None:
            nonlocal done
            self._check()
            done += count
            self.reporter.progress(label, done, total)

        return tick

    def _check(self) -> None:
        if self.cancelled.is_set():
            raise Interrupted("interrupted")

    def _pause(self) -> None:
        self.cancelled.wait(_PAUSE)
        self._check()


@contextmanager
def _blamed(action: Action, root: Path) -> Iterator[None]:
    """Errors of a tool name the action; what is no expected failure is a bug."""
    try:
        with _disk_trouble(root):
            yield
    except (Interrupted, StoreError):
        raise
    except MfbuildError as error:
        prefix = f"making `{action.label}`: "
        raise type(error).all_of(
            [Problem(prefix + p.message, p.where, p.hint) for p in error.problems]
        ) from error
    except Exception as error:
        raise AssertionError(f"BUG: tool `{action.tool}` on `{action.label}`: {error}") from error


@contextmanager
def _disk_trouble(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_trouble(error):
            raise store_error(error, root) from error
        raise
