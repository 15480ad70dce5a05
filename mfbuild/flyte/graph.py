"""The shape of a flow: where branches meet again, and which steps start others themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mfbuild.flow.spec import FlowSpec, StepSpec


@dataclass(frozen=True, slots=True)
class FlowGraph:
    """A flow's steps, and what follows from their edges.

    `merge` is the step that every way from a step comes to next (its immediate post-dominator;
    None for the end), its own repetition left aside. `flat` are the foreach steps with an ArrayNode
    behind them, and `bodies` what it repeats; `branched` the switch steps with a BranchNode behind
    them; `joins` those of foreaches. `dynamic` are the steps that write futures.pb, `inside` those
    within a foreach that a container expands.
    """

    steps: Mapping[str, StepSpec]
    merge: Mapping[str, str | None]
    flat: frozenset[str]
    bodies: frozenset[str]
    branched: frozenset[str]
    joins: frozenset[str]
    dynamic: frozenset[str]
    inside: frozenset[str]


def graph_of(spec: FlowSpec) -> FlowGraph:
    """The Graph of a flow that Metaflow has accepted."""
    steps = {step.name: step for step in spec.steps}
    merge = _merges(steps)
    foreaches = [step for step in spec.steps if step.type == "foreach"]
    switches = [step for step in spec.steps if step.type == "split-switch"]
    flat = frozenset(step.name for step in foreaches if _is_flat(steps, step))
    branched = frozenset(step.name for step in switches if _is_branched(steps, merge, step))
    dynamic = {s.name for s in foreaches} - flat | {
        s.name for s in switches if s.name not in branched and set(s.next) != {merge[s.name]}
    }
    inside = {
        name
        for step in foreaches
        if step.name not in flat
        for name in region(steps, step.next[0], join_of(step))
    }
    return FlowGraph(
        steps=steps,
        merge=merge,
        flat=flat,
        bodies=frozenset(steps[name].next[0] for name in flat),
        branched=branched,
        joins=frozenset(join_of(step) for step in foreaches),
        dynamic=frozenset(dynamic),
        inside=frozenset(inside),
    )


def region(steps: Mapping[str, StepSpec], entry: str, end: str | None) -> frozenset[str]:
    """The steps that can be reached from `entry` without passing `end`."""
    found: set[str] = set()
    pending = [entry]
    while pending:
        name = pending.pop()
        if name != end and name not in found:
            found.add(name)
            pending += steps[name].next
    return frozenset(found)


def join_of(foreach: StepSpec) -> str:
    """The join of a foreach step."""
    if foreach.matching_join is None:
        raise ValueError(f"the foreach `{foreach.name}` has no join")
    return foreach.matching_join


def is_recursive(step: StepSpec) -> bool:
    """Whether a step can be its own next one."""
    return step.name in step.next


def arms(step: StepSpec) -> tuple[str, ...]:
    """The steps that follow, each once, without the step itself."""
    return tuple(dict.fromkeys(name for name in step.next if name != step.name))


def overlap(steps: Mapping[str, StepSpec], entries: Sequence[str], end: str | None) -> str | None:
    """A step that more than one of `entries` leads to before `end`, if there is one."""
    seen: set[str] = set()
    for entry in entries:
        found = region(steps, entry, end)
        if shared := [name for name in steps if name in found & seen]:
            return shared[0]
        seen |= found
    return None


def _is_flat(steps: Mapping[str, StepSpec], foreach: StepSpec) -> bool:
    """An ArrayNode repeats one task: the body is one step that only leads to the join."""
    return steps[foreach.next[0]].next == (join_of(foreach),)


def _is_branched(
    steps: Mapping[str, StepSpec], merge: Mapping[str, str | None], switch: StepSpec
) -> bool:
    """A BranchNode chooses one of several nodes: a node per arm, and no node in two of them."""
    end = merge[switch.name]
    if is_recursive(switch) or end in switch.next:
        return False
    return overlap(steps, arms(switch), end) is None


def _merges(steps: Mapping[str, StepSpec]) -> dict[str, str | None]:
    """Each step's immediate post-dominator (Cooper, Harvey, Kennedy: one pass, as there are no
    cycles but repetitions). `steps` is in topological order."""
    merge: dict[str, str | None] = {}
    depth: dict[str | None, int] = {None: 0}

    def common(ends: Iterable[str]) -> str | None:
        first, *others = ends
        meeting: str | None = first
        for other in others:
            at: str | None = other
            while meeting != at:
                if depth[meeting] >= depth[at]:
                    meeting = merge[meeting] if meeting else None
                else:
                    at = merge[at] if at else None
        return meeting

    for name in reversed(list(steps)):
        following = arms(steps[name])
        merge[name] = common(following) if following else None
        depth[name] = depth[merge[name]] + 1
    return merge
