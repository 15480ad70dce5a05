"""Which wheels share a layer, and in what order layers stack, over a whole flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mfbuild.python.model import LockedWheel

LARGE = 1_000_000
"""From this many bytes on a wheel has a layer of its own (facts: about 1 MB compressed)."""

BUDGET = 90
"""Layers that the wheels of one image may take; images have at most 127, some are the base's."""


@dataclass(frozen=True, slots=True)
class Group:
    """Wheels of one layer, sorted by file name."""

    wheels: tuple[LockedWheel, ...]

    @property
    def size(self) -> int:
        return sum(w.size for w in self.wheels)


def layering(
    environments: Mapping[str, Sequence[LockedWheel]], steps: Mapping[str, int]
) -> dict[str, tuple[Group, ...]]:
    """The layers of each environment, lowest first, for one platform.

    `environments` maps a name to its wheels, `steps` to the number of steps that run in it.
    Small wheels are pooled with those that exactly the same environments use, so that a second
    environment adds only what is its own. What most steps use lies lowest, then the larger, since
    nodes share prefixes of the stack (docs/design.md).
    """
    users: dict[LockedWheel, frozenset[str]] = {}
    for name, wheels in environments.items():
        for wheel in wheels:
            users[wheel] = users.get(wheel, frozenset()) | {name}
    groups = _groups(users)
    weight = {u: sum(steps[name] for name in u) for u in users.values()}

    def rank(item: tuple[Group, frozenset[str]]) -> tuple[int, int, str]:
        group, used_by = item
        return -weight[used_by], -group.size, group.wheels[0].filename

    stack = sorted(groups, key=rank)
    return {name: tuple(g for g, used_by in stack if name in used_by) for name in environments}


def _groups(users: Mapping[LockedWheel, frozenset[str]]) -> list[tuple[Group, frozenset[str]]]:
    """Large wheels alone, at most BUDGET of them; the rest pooled by who uses them."""
    by_size = sorted(users, key=lambda w: (-w.size, w.filename))
    pools = len(set(users.values()))
    alone = [w for w in by_size if w.size >= LARGE][: max(0, BUDGET - pools)]
    pooled: dict[frozenset[str], list[LockedWheel]] = {}
    for wheel in sorted(set(users).difference(alone)):
        pooled.setdefault(users[wheel], []).append(wheel)
    return [(Group((w,)), users[w]) for w in alone] + [
        (Group(tuple(wheels)), used_by) for used_by, wheels in pooled.items()
    ]
