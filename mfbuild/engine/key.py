"""The identity of an action: the facts that enter its key, and how two sets of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mfbuild.engine.model import Action, Digest, canonical


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that enters an action's key; `why` (the reasons it ran for) does not.

    `inputs` gives the digest of each input by name.
    """

    tool: str
    tool_version: int
    params: str
    inputs: Mapping[str, Digest]
    outputs: tuple[str, ...]
    why: tuple[str, ...] = ()

    @classmethod
    def of(cls, action: Action, inputs: Mapping[str, Digest], tool_version: int) -> Record:
        """The facts of `action` when its inputs have the digests `inputs`."""
        return cls(action.tool, tool_version, action.params, inputs, action.outputs)

    def canonical(self) -> str:
        """The keyed facts as canonical JSON."""
        return canonical(
            {
                "tool": self.tool,
                "tool_version": self.tool_version,
                "params": self.params,
                "inputs": {name: str(digest) for name, digest in self.inputs.items()},
                "outputs": self.outputs,
            }
        )

    @classmethod
    def parse(cls, text: str, why: tuple[str, ...] = ()) -> Record:
        """Read the text of `canonical`; KeyError, TypeError or ValueError when it is not that."""
        value: dict[str, Any] = json.loads(text)
        return cls(
            tool=value["tool"],
            tool_version=value["tool_version"],
            params=value["params"],
            inputs={name: Digest.parse(text) for name, text in value["inputs"].items()},
            outputs=tuple(value["outputs"]),
            why=why,
        )

    def key(self) -> Digest:
        """The action's key: the sha256 of `canonical()`."""
        return Digest.of(self.canonical().encode())


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an action runs: a sentence, with the old and the new value where it is about a value."""

    text: str
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        values = [value for value in (self.old, self.new) if value is not None]
        return f"{self.text}: {' -> '.join(values)}" if values else self.text

    def brief(self) -> str:
        """The same with each value cut to what a digest needs to be told from others."""
        return str(Reason(self.text, _cut(self.old), _cut(self.new)))


def _cut(value: str | None) -> str | None:
    shown = len("sha256:") + 12
    return value if value is None or len(value) <= shown else f"{value[:shown]}…"


def changes(old: Record, new: Record, unknown: frozenset[str] = frozenset()) -> tuple[Reason, ...]:
    """How `new` differs from `old`; the inputs in `unknown` are left out."""
    found = [
        *_tool_changes(old, new),
        *_param_changes(old.params, new.params),
        *_differences("input", _texts(old.inputs, unknown), _texts(new.inputs, unknown)),
    ]
    if old.outputs != new.outputs:
        found.append(Reason("outputs changed", ", ".join(old.outputs), ", ".join(new.outputs)))
    return tuple(found)


def _tool_changes(old: Record, new: Record) -> Iterator[Reason]:
    if old.tool != new.tool:
        yield Reason("tool changed", old.tool, new.tool)
    elif old.tool_version != new.tool_version:
        was = old.tool_version
        yield Reason(f"tool `{new.tool}` is version {new.tool_version} (was {was})")


def _param_changes(old: str, new: str) -> Iterator[Reason]:
    if old == new:
        return
    before, after = json.loads(old), json.loads(new)
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _differences("parameter", _values(before), _values(after))
    else:
        yield Reason("parameters changed", old, new)


def _texts(inputs: Mapping[str, Digest], unknown: frozenset[str]) -> dict[str, str]:
    return {name: str(digest) for name, digest in inputs.items() if name not in unknown}


def _values(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: canonical(value) for name, value in params.items()}


def _differences(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Reason]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield Reason(f"{kind} `{name}` is new", None, new[name])
        elif name not in new:
            yield Reason(f"{kind} `{name}` is gone", old[name], None)
        elif old[name] != new[name]:
            yield Reason(f"{kind} `{name}` changed", old[name], new[name])
