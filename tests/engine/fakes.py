"""A small workshop for engine tests: tools that join bytes, downloads from memory, a recorder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfbuild.engine.cache import Cache
from mfbuild.engine.events import How
from mfbuild.engine.graph import ActionGraph
from mfbuild.engine.model import Action, Blob, Digest, Input, Output, Source, Tool, Work, canonical
from mfbuild.engine.plan import Plan, make_plan
from mfbuild.engine.run import Results, run
from mfbuild.engine.store import Store


def action(
    label: str,
    inputs: Mapping[str, Input] | None = None,
    *,
    tool: str = "join",
    params: Any = None,
    outputs: Iterable[str] = ("out",),
) -> Action:
    """An action with its inputs and outputs sorted."""
    given = tuple(sorted((inputs or {}).items(), key=lambda pair: pair[0]))
    text = canonical(params if params is not None else label)
    return Action(label, tool, text, given, tuple(sorted(outputs)), f"make {label}")


def out(label: str, name: str = "out") -> Output:
    return Output(label, name)


def blob(data: bytes) -> Blob:
    return Blob(Digest.of(data), len(data))


def add(store: Store, data: bytes) -> Blob:
    """Put `data` into the store."""
    with store.temporary() as folder:
        path = folder / "data"
        path.write_bytes(data)
        return store.add_file(path)


def join(work: Work) -> None:
    """Each output is its name, the parameters and all inputs."""
    content = b"".join(given.read() for _, given in sorted(work.inputs.items()))
    for name, path in work.outputs.items():
        path.write_bytes(f"{name} {canonical(work.params)} ".encode() + content)


def first_byte(work: Work) -> None:
    """The first byte of all inputs: what lets a build stop early."""
    content = b"".join(given.read()[:1] for _, given in sorted(work.inputs.items()))
    for path in work.outputs.values():
        path.write_bytes(content)


class Recorder:
    """A Reporter that remembers what it was told, and does what is asked when a label starts."""

    def __init__(self, on_start: Mapping[str, Callable[[], None]]) -> None:
        self._on_start = on_start
        self._lock = threading.Lock()
        self.open: list[str] = []
        self.done: list[tuple[str, How]] = []
        self.warnings: list[str] = []
        self.bytes: dict[str, int] = {}

    def started(self, label: str, description: str) -> None:
        with self._lock:
            self.open.append(label)
        self._on_start.get(label, lambda: None)()

    def progress(self, label: str, done: int, total: int | None) -> None:
        with self._lock:
            self.bytes[label] = done

    def finished(self, label: str, how: How, seconds: float) -> None:
        with self._lock:
            if how != "cached":
                self.open.remove(label)
            self.done.append((label, how))

    def warn(self, message: str) -> None:
        with self._lock:
            self.warnings.append(message)

    def labels(self, how: How) -> list[str]:
        return sorted(label for label, done in self.done if done == how)


@dataclass
class Workshop:
    """A store in `root`, with what builds need; `downloads` are the bytes behind `mem:` sources."""

    root: Path
    workspace: str = "here"
    tools: dict[str, Tool] = field(
        default_factory=lambda: {"join": Tool(1, join), "first": Tool(1, first_byte)}
    )
    downloads: dict[str, bytes] = field(default_factory=dict)
    on_start: dict[str, Callable[[], None]] = field(default_factory=dict)

    def source(self, name: str, data: bytes) -> Source:
        """A source that can be downloaded."""
        self.downloads[f"mem:{name}"] = data
        return Source(blob(data), f"mem:{name}")

    def tool(self, name: str, function: Callable[[Work], None], version: int = 1) -> None:
        self.tools[name] = Tool(version, function)

    def fetch(self, source: Source, destination: Path, tick: Callable[[int], None]) -> None:
        data = self.downloads[source.locator]
        destination.write_bytes(data)
        tick(len(data))

    def build(
        self, actions: Iterable[Action], *goals: Output, jobs: int = 4, fresh: bool = False
    ) -> tuple[Results, Recorder]:
        recorder = Recorder(self.on_start)
        with Store.open(self.root) as store:
            results = run(
                ActionGraph(actions),
                goals,
                self.tools,
                {"mem": self.fetch},
                store,
                Cache(store, self.workspace),
                recorder,
                jobs=jobs,
                fresh=fresh,
            )
        return results, recorder

    def plan(self, actions: Iterable[Action], *goals: Output, fresh: bool = False) -> Plan:
        with Store.open(self.root) as store:
            cache = Cache(store, self.workspace)
            versions = {name: tool.version for name, tool in self.tools.items()}
            return make_plan(
                ActionGraph(actions), goals, versions, cache.get, store.has, cache.last, fresh=fresh
            )

    def file(self, blob: Blob) -> Path:
        """The blob's file in the store, which may be damaged through it."""
        return self.root / "cas" / "sha256" / blob.digest.hex[:2] / blob.digest.hex

    def leftovers(self) -> list[str]:
        """What is in tmp/ besides lock files."""
        return [p.name for p in (self.root / "tmp").iterdir() if p.suffix != ".lock"]
