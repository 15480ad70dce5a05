"""What a container is started with: its command line and its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from .inputs import PREFIX
from .run import Run


@dataclass(frozen=True, slots=True)
class Person:
    """What belongs to a person or a deployment, and so to no image and no task template."""

    tags: tuple[str, ...] = ()
    namespace: str | None = None
    user: str | None = None
    branch: str | None = None
    production: bool = False
    production_token: str | None = None

    @classmethod
    def from_json(cls, text: str) -> Person:
        """Read the input `person`; unknown keys are a newer push's and are left alone.

        Raises ValueError for what is no JSON object.
        """
        found = json.loads(text or "{}")
        if not isinstance(found, dict):
            raise ValueError(f"the person `{text}` is no JSON object")
        values = {name: value for name, value in found.items() if name in _PERSON}
        return cls(**{**values, "tags": tuple(values.get("tags") or ())})


_PERSON = frozenset(field.name for field in fields(Person))


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line; docs/flyte.md has the meaning of each option.

    `code` and `plan` are `<url>#sha256=<hex>`, `output` is the prefix of the task's outputs and
    `input` the address of its inputs, "" for a step that reads none. `path` has the own split.
    `inputs` are the task's inputs as they came, by their names on the wire. `max_futures` is the
    most bytes of futures.pb.
    Where the run says where the task stands in it, the position is the run's, and not Flyte's.
    """

    step: str
    code: str
    plan: str
    run: Run
    person: Person
    output: str
    path: tuple[int, ...]
    count: int | None
    iteration: int
    input: str
    attempt: int
    user_retries: int
    retry_delay: float
    inputs: Mapping[str, str | int]
    max_futures: int


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Arguments:
    """The arguments behind `python -m mfbuild_runtime`: a step, then pairs of option and value.

    An option has exactly one value, whatever it begins with: propeller puts in what the inputs
    hold. Raises ValueError for an option that is unknown or has no value.
    """
    step, *rest = argv or [""]
    options = dict(zip(rest[::2], rest[1::2], strict=False))
    unknown = [name for name in rest[::2] if name not in _OPTIONS]
    if not step or step.startswith("-") or unknown or len(rest) % 2:
        wrong = unknown[0] if unknown else rest[-1] if rest else step
        raise ValueError(f"`{wrong}` is not an option with a value, or the step is missing")
    given = {name[2:].replace("-", "_"): value for name, value in options.items() if value != ""}
    run = Run.parse(given.get("run", ""), environ.get("FLYTE_INTERNAL_EXECUTION_ID", "local"))
    position = _position(run, given)
    return Arguments(
        step=step,
        code=given.get("code", ""),
        plan=given.get("plan", ""),
        run=run,
        person=Person.from_json(given.get("person", "")),
        output=given.get("output", "").rstrip("/"),
        path=position.path,
        count=position.count,
        iteration=position.iteration,
        input=given.get("input", ""),
        attempt=run.task.attempt if run.task else int(environ.get("FLYTE_ATTEMPT_NUMBER", 0)),
        user_retries=run.task.user_retries if run.task else int(given.get("user_retries", 0)),
        retry_delay=float(given.get("retry_delay", 0)),
        inputs=_inputs(options),
        max_futures=int(float(environ.get("MFBUILD_MAX_FUTURES_MB", 2)) * 1024 * 1024),
    )


@dataclass(frozen=True, slots=True)
class _Position:
    path: tuple[int, ...] = ()
    count: int | None = None
    iteration: int = 0


def _position(run: Run, given: Mapping[str, str]) -> _Position:
    """Where the task stands; the inputs of a task that was started alone say nothing of that."""
    if run.task or run.onto:
        return _Position(run.onto.path if run.onto else ())
    path = tuple(int(index) for index in given.get("path", "").split("/") if index)
    if "split" in given:
        path = (*path, int(given["split"]))
    count = int(given["count"]) if "count" in given else None
    return _Position(path, count, int(given.get("iteration", 0)))


def _inputs(options: Mapping[str, str]) -> dict[str, str | int]:
    """The inputs as they came; of a task that was started alone, `split` is a list."""
    return {
        f"{PREFIX}{name}": int(text) if name in _INTEGERS and text[:1] != "[" else text
        for name in _INPUTS
        if (text := options.get(f"--{name}")) is not None
    }


_INTEGERS = ("split", "count", "iteration")
_INPUTS = ("code", "plan", "run", "person", "path", *_INTEGERS)
_OPTIONS = frozenset(
    f"--{name}" for name in (*_INPUTS, "output", "input", "user-retries", "retry-delay")
)
