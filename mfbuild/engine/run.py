"""Runs what a schedule says must run: in parallel, cancellable, making damaged blobs again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from mfbuild.engine.cache import Cache
from mfbuild.engine.events import Reporter
from mfbuild.engine.graph import ActionGraph
from mfbuild.engine.model import ActionResult, Blob, Fetcher, Output, Source, Tool
from mfbuild.engine.plan import REUSED, BuildProgress
from mfbuild.engine.store import BlobCorrupted, Store
from mfbuild.engine.worker import ActionJob, Worker
from mfbuild.errors import Interrupted, MfbuildError, StoreError

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Results = Mapping[str, ActionResult]

_Note = Callable[[Any], None]  # tells the schedule what a job gave

_DOWNLOADS = 8


def run(
    graph: ActionGraph,
    goals: Iterable[Output],
    tools: Mapping[str, Tool],
    fetchers: Mapping[str, Fetcher],
    store: Store,
    cache: Cache,
    reporter: Reporter,
    *,
    jobs: int,
    fresh: bool = False,
) -> Results:
    """Make `goals`; the result of every action that they are made of, by label.

    `fetchers` are by scheme of locator. At most `jobs` actions run at once, beside 8 downloads.
    `fresh` runs every action again and keeps downloads. The goals' blobs are in the store
    afterwards; `Store.verified` hashes them. The first failure ends the build: an MfbuildError of
    its kind with every failure that was met, or Interrupted after ^C.
    """
    goals = tuple(goals)
    worker = Worker(tools, fetchers, store, cache, reporter, fresh)
    build = _Build(worker)
    versions = {name: tool.version for name, tool in tools.items()}
    try:
        while True:
            schedule = BuildProgress(graph, goals, versions, worker.lookup, store.has, fresh=fresh)
            if not schedule.must_run:
                break
            build.carry_out(schedule, jobs)
            if schedule.valid:
                break
        build.note_reuse(schedule)
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None
    return schedule.results


@dataclass(slots=True)
class _Build:
    """The main thread's side of one build."""

    worker: Worker
    running: int = 0
    finished: SimpleQueue[tuple[str, _Note, Future[Any]]] = field(default_factory=SimpleQueue)
    ran: set[str] = field(default_factory=set)
    damaged: set[Blob] = field(default_factory=set)  # and discarded, for this schedule
    healed: set[Blob] = field(default_factory=set)  # for an earlier one
    failures: list[tuple[str, Exception]] = field(default_factory=list)

    def carry_out(self, schedule: BuildProgress, jobs: int) -> None:
        """Do all that a schedule asks for, as far as it stays valid."""
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that a no-op build saves

        self.healed |= self.damaged
        self.damaged.clear()
        with ThreadPoolExecutor(jobs) as actions, ThreadPoolExecutor(_DOWNLOADS) as downloads:
            try:
                self._drive(schedule, actions, downloads)
            except BaseException:
                self.worker.cancelled.set()  # the pools wait for their threads
                raise
        if self.failures:
            raise _combined(self.failures)
        if schedule.valid and not schedule.complete:
            raise AssertionError("BUG: the build is stuck")

    def note_reuse(self, schedule: BuildProgress) -> None:
        """Report what was cached; it counts as used, and as what its label was last made from."""
        worker = self.worker
        for label in (label for label in schedule.actions if label not in self.ran):
            for blob in schedule.results[label].outputs.values():
                worker.store.has(blob)
            record = schedule.records[label]
            if not worker.cache.is_last(label, record.key()):
                worker.cache.remember(label, replace(record, why=(str(REUSED),)))
            worker.reporter.finished(label, "cached", 0.0)

    def _drive(self, schedule: BuildProgress, actions: Executor, downloads: Executor) -> None:
        while True:
            if not self.failures:
                # The largest first: one that starts last leaves the other threads idle.
                for label in sorted(schedule.take_ready(), key=partial(_largest, schedule)):
                    act = partial(self.worker.act, self._job(schedule, label))
                    self._start(actions, label, act, partial(schedule.ran, label))
                    self.ran.add(label)
                for source in schedule.take_fetches():
                    fetch = partial(self.worker.fetch, source)
                    self._start(downloads, source.locator, fetch, schedule.arrived)
            if not self.running:
                return
            self._settle(schedule, *self.finished.get())

    def _job(self, schedule: BuildProgress, label: str) -> ActionJob:
        why = tuple(map(str, schedule.reasons(label, self.worker.cache.last)))
        record = replace(schedule.records[label], why=why)
        return ActionJob(schedule.actions[label], record, schedule.input_blobs(label))

    def _start(self, pool: Executor, label: str, job: Callable[[], Any], note: _Note) -> None:
        self.running += 1
        pool.submit(job).add_done_callback(lambda f: self.finished.put((label, note, f)))

    def _settle(
        self, schedule: BuildProgress, label: str, note: _Note, future: Future[Any]
    ) -> None:
        self.running -= 1
        try:
            note(future.result())
        except BlobCorrupted as error:
            schedule.valid = False
            self._discard(label, error)
        except Interrupted:
            if not self.failures:
                raise
        except Exception as error:
            self._fail(label, error)

    def _discard(self, label: str, error: BlobCorrupted) -> None:
        if error.blob in self.healed:
            self._fail(label, StoreError.all_of(error.problems))
        elif error.blob not in self.damaged:
            self.damaged.add(error.blob)
            self.worker.reporter.warn(f"{error}; it is made again")
            self.worker.store.discard(error.blob)

    def _fail(self, label: str, error: Exception) -> None:
        self.failures.append((label, error))
        self.worker.cancelled.set()


def _combined(failures: Iterable[tuple[str, Exception]]) -> Exception:
    """One exception for all: a bug if there is one, else every problem, by label."""
    errors = [error for _, error in sorted(failures, key=lambda failure: failure[0])]
    expected = [error for error in errors if isinstance(error, MfbuildError)]
    if len(errors) == 1 or len(expected) < len(errors):
        return next((e for e in errors if not isinstance(e, MfbuildError)), errors[0])
    problems = dict.fromkeys(problem for error in expected for problem in error.problems)
    return type(expected[0]).all_of(list(problems))


def _largest(schedule: BuildProgress, label: str) -> tuple[int, str]:
    """Sorts actions by the bytes of their sources, the most first."""
    inputs = schedule.actions[label].inputs
    return -sum(given.blob.size for _, given in inputs if isinstance(given, Source)), label
