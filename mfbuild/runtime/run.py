"""The input `run`: which run a task belongs to, and what of an earlier run it goes on with."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a run that Metaflow's own runtime drives, which has chosen all of this.

    `inputs` are input paths as Metaflow compresses them; `options` are its top-level options.
    """

    id: str
    inputs: str
    split: int | None = None
    attempt: int = 0
    user_retries: int = 0
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resume:
    """What run `run` has done is taken over, but for `step` and all that follow it."""

    run: str
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Onto:
    """A single step, on what run `run` has left, where it stands at `path` of its foreaches."""

    run: str
    path: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Metaflow's run id, and at most one of the three that say more than Flyte's graph does."""

    id: str
    task: Task | None = None
    resume: Resume | None = None
    onto: Onto | None = None

    @classmethod
    def parse(cls, text: str, execution: str) -> Run:
        """Read the input: a run id, "" for `flyte-<execution>`, or a JSON object with more.

        Raises ValueError for an object that is none of these.
        """
        if not text.startswith("{"):
            return cls(text or f"flyte-{execution}")
        found = json.loads(text)
        unknown = found.keys() - {"id", "task", "resume", "onto"}
        if unknown or len(found.keys() - {"id"}) > 1:
            raise ValueError(f"the run `{text}` is not one that this runtime knows")
        return cls(
            id=found.get("id") or f"flyte-{execution}",
            task=_read(Task, found.get("task"), "options"),
            resume=_read(Resume, found.get("resume")),
            onto=_read(Onto, found.get("onto"), "path"),
        )


def _read(cls: type[_T], found: Any, *lists: str) -> _T | None:
    if found is None:
        return None
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    if not isinstance(found, dict) or found.keys() - known:
        raise ValueError(f"`{found}` is not what a run's {cls.__name__.lower()} is made of")
    try:
        return cls(**{n: tuple(value) if n in lists else value for n, value in found.items()})
    except TypeError as error:
        raise ValueError(f"`{found}` lacks something: {error}") from None
