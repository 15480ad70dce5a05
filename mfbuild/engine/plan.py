"""What must run and why: decided from the graph, the cache and the store, without touching them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from mfbuild.engine.graph import ActionGraph, producers
from mfbuild.engine.key import Reason, Record, changes
from mfbuild.engine.model import Action, ActionResult, Blob, Digest, Input, Output, Source

Lookup = Callable[[Digest], ActionResult | None]
Present = Callable[[Blob], bool]
Last = Callable[[str], Record | None]

NEVER_BUILT = Reason("never built")
NO_CACHE = Reason("asked for with --no-cache")
FORGOTTEN = Reason("its result is no longer in the cache")
REUSED = Reason("its result was in the cache already")


class Status(Enum):
    """What a build would do with an action."""

    CACHED = "cached"
    RUN = "run"
    MAYBE = "run if its inputs change"


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """One action of a plan; `reasons` is empty if it is cached.

    `result` is what is known to come out; None if the action has to run to know.
    """

    action: Action
    status: Status
    reasons: tuple[Reason, ...]
    result: ActionResult | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would do: its actions in topological order, and what it would download."""

    steps: tuple[PlannedAction, ...]
    fetches: tuple[Source, ...]

    def step(self, label: str) -> PlannedAction:
        """The step of the action `label`; KeyError if the plan has none."""
        for step in self.steps:
            if step.action.label == label:
                return step
        raise KeyError(label)


def make_plan(
    graph: ActionGraph,
    goals: Iterable[Output],
    tool_versions: Mapping[str, int],
    lookup: Lookup,
    present: Present,
    last: Last,
    *,
    fresh: bool = False,
) -> Plan:
    """Decide what a build of `goals` would do.

    `lookup` asks the action cache, `present` whether a blob is in the store, `last` what went into
    a label the last time. `fresh` (--no-cache) runs every action again and keeps downloads.
    """
    find = _nothing if fresh else lookup
    schedule = BuildProgress(graph, goals, tool_versions, find, present, fresh=fresh)
    steps = tuple(schedule.step(label, last) for label in schedule.actions)
    wanted = {
        source.blob.digest: source
        for step in steps
        if step.status is Status.RUN
        for source in _downloads(step.action)
        if not present(source.blob)
    }
    return Plan(steps, tuple(wanted.values()))


def is_local(given: Input) -> bool:
    """Whether an input is a file of the user's, which is used where it is."""
    return isinstance(given, Source) and given.locator.startswith("file:")


def _downloads(action: Action) -> Iterator[Source]:
    for _, given in action.inputs:
        if isinstance(given, Source) and not is_local(given):
            yield given


class BuildProgress:
    """What is known, what must run and what can start, kept up to date as a build goes on.

    An action is resolved when its result is known: from the cache once the digests of its inputs
    are, or by a run. It must run if the cache has no result, or if an output is wanted (as a goal,
    or by an action that must run) whose blob is absent. So bytes are made or downloaded only for
    an action that runs; for all others, digests do.

    `valid` is False once something that was decided upon has turned out to be wrong.
    """

    def __init__(
        self,
        graph: ActionGraph,
        goals: Iterable[Output],
        tool_versions: Mapping[str, int],
        lookup: Lookup,
        present: Present,
        *,
        fresh: bool,
    ) -> None:
        goals = tuple(goals)
        self.actions = {action.label: action for action in graph.closure(goals)}
        self.results: dict[str, ActionResult] = {}
        self.records: dict[str, Record] = {}
        self.valid = True
        self.must_run: dict[str, list[str]] = {}  # label -> the outputs whose blobs are missing
        self._goals = frozenset(goals)
        self._versions = tool_versions
        self._lookup, self._present, self._fresh = lookup, present, fresh
        self._unresolved = {label: set(producers(a)) for label, a in self.actions.items()}
        self._consumers: dict[str, list[str]] = {label: [] for label in self.actions}
        for label, inputs in self._unresolved.items():
            for producer in inputs:
                self._consumers[producer].append(label)
        self._waiting: dict[Digest, list[str]] = {}  # absent blob -> the actions that wait for it
        self._absent: dict[str, int] = {}  # label -> how many of its input blobs are absent
        self._ready: list[str] = []
        self._fetches: list[Source] = []
        self._fetched: set[Digest] = set()  # or about to be
        self._resolve(label for label, inputs in self._unresolved.items() if not inputs)

    def take_ready(self) -> list[str]:
        """The actions that must run and whose inputs are all there; each is given out once."""
        found, self._ready = self._ready, []
        return found

    def take_fetches(self) -> list[Source]:
        """The sources that actions wait for; each is given out once."""
        found, self._fetches = self._fetches, []
        return found

    @property
    def complete(self) -> bool:
        """Whether every result is known and no action waits for anything."""
        return len(self.results) == len(self.actions) and not self._waiting

    def arrived(self, blob: Blob) -> None:
        """Note that the blob is in the store now."""
        for label in self._waiting.pop(blob.digest, ()):
            self._absent[label] -= 1
            if not self._absent[label]:
                self._ready.append(label)

    def ran(self, label: str, result: ActionResult) -> None:
        """Note what an action made; if the cache had promised something else, all is void."""
        for blob in result.outputs.values():
            self.arrived(blob)
        promised = self.results.get(label)
        if promised is None:
            self._resolve(self._know(label, result))
        elif promised != result:
            self.valid = False

    def input_blobs(self, label: str) -> dict[str, Blob]:
        """The inputs of an action that is resolved, by name."""
        return {name: self._blob(given) for name, given in self.actions[label].inputs}

    def step(self, label: str, last: Last) -> PlannedAction:
        """What is to be done with `label`, as far as is known now."""
        action, result = self.actions[label], self.results.get(label)
        if label in self.must_run:
            return PlannedAction(action, Status.RUN, self.reasons(label, last), result)
        if result is not None:
            return PlannedAction(action, Status.CACHED, (), result)
        own, after = self._expected(action, last)
        return PlannedAction(action, Status.RUN if own else Status.MAYBE, own + after, None)

    def reasons(self, label: str, last: Last) -> tuple[Reason, ...]:
        """Why `label`, which must run, must."""
        if self._fresh:
            return (NO_CACHE,)
        if missing := self.must_run[label]:
            return tuple(Reason(f"output `{m}` is missing from the store") for m in missing)
        old = last(label)
        if old is None:
            return (NEVER_BUILT,)
        return changes(old, self.records[label]) or (FORGOTTEN,)

    def _expected(self, action: Action, last: Last) -> tuple[tuple[Reason, ...], ...]:
        """Why an action will run whose inputs are not all known: of its own, and by others."""
        after = tuple(
            Reason(f"after `{label}`")
            for label in dict.fromkeys(producers(action))
            if label in self.must_run or label not in self.results
        )
        if self._fresh:
            return (NO_CACHE,), ()
        old = last(action.label)
        if old is None:
            return (NEVER_BUILT,), after
        digests = dict(self._known_digests(action))
        unknown = frozenset(name for name, _ in action.inputs if name not in digests)
        now = Record.of(action, digests, self._versions[action.tool])
        return changes(old, now, unknown), after

    def _resolve(self, labels: Iterable[str]) -> None:
        """Look up these actions, whose inputs are known, and those that this makes known."""
        queue = deque(labels)
        while queue:
            action = self.actions[queue.popleft()]
            digests = dict(self._known_digests(action))
            record = Record.of(action, digests, self._versions[action.tool])
            self.records[action.label] = record
            result = self._lookup(record.key())
            if result is None:
                self._require(action.label, [])
            else:
                queue.extend(self._know(action.label, result))

    def _know(self, label: str, result: ActionResult) -> list[str]:
        """Note a result; the consumers that lacked nothing else."""
        self.results[label] = result
        missing = [
            name
            for name, blob in sorted(result.outputs.items())
            if Output(label, name) in self._goals and not self._present(blob)
        ]
        if missing:
            self._require(label, missing)
        for consumer in self._consumers[label]:
            self._unresolved[consumer].remove(label)
        return [c for c in self._consumers[label] if not self._unresolved[c]]

    def _require(self, label: str, missing: list[str]) -> None:
        """Have `label` run, and whatever must run to bring back the bytes of its inputs."""
        stack = [(label, missing)]
        while stack:
            label, missing = stack.pop()
            if label in self.must_run:
                known = self.must_run[label]
                known.extend(name for name in missing if name not in known)
            else:
                self.must_run[label] = missing
                stack.extend(self._await_inputs(self.actions[label]))

    def _await_inputs(self, action: Action) -> Iterator[tuple[str, list[str]]]:
        """Note the absent inputs of an action; yields the outputs to be made again for it."""
        self._absent[action.label] = 0
        for _, given in action.inputs:
            if is_local(given):
                continue
            blob = self._blob(given)
            if self._present(blob):
                continue
            self._waiting.setdefault(blob.digest, []).append(action.label)
            self._absent[action.label] += 1
            # Even if something else that is to come has this content: that may wait for this.
            if isinstance(given, Output):
                yield given.label, [given.name]
            elif blob.digest not in self._fetched:
                self._fetched.add(blob.digest)
                self._fetches.append(given)
        if not self._absent[action.label]:
            self._ready.append(action.label)

    def _known_digests(self, action: Action) -> Iterator[tuple[str, Digest]]:
        for name, given in action.inputs:
            if isinstance(given, Source) or given.label in self.results:
                yield name, self._blob(given).digest

    def _blob(self, given: Input) -> Blob:
        if isinstance(given, Source):
            return given.blob
        return self.results[given.label].outputs[given.name]


def _nothing(_: Digest) -> None:
    return None
