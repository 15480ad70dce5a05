"""A compiled flow as people look at it: its nodes, what is inside of them, what follows what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flyteidl.core.workflow_pb2 import Node

from mfbuild.flyte.templates import Compiled, decode_node, inner_nodes


@dataclass(frozen=True, slots=True)
class Box:
    """A node. `kind` is task, array, choice, workflow or expanded; `note` says how it is run.

    `after` are the ids of the nodes beside it that it waits for; `inner` what runs inside of it:
    the arms of a choice, the nodes of a sub-workflow, what a container starts.
    """

    id: str
    kind: str
    name: str
    note: str = ""
    after: tuple[str, ...] = ()
    inner: tuple[Box, ...] = ()

    def json(self) -> dict[str, Any]:
        """The box as a JSON value."""
        return {
            "id": self.id,
            "kind": self.kind,
            "name": self.name,
            "note": self.note,
            "after": list(self.after),
            "inner": [box.json() for box in self.inner],
        }


def outline(compiled: Compiled) -> tuple[Box, ...]:
    """The nodes of a flow's workflow, each with what it runs."""
    return _Outline(compiled).boxes(compiled.workflow.nodes, ())


def lines(boxes: Sequence[Box], indent: str = "") -> Iterator[str]:
    """An outline as text: a line for each node, what is inside of it below and to the right."""
    width = max((len(box.name) for box in boxes), default=0)
    for box in boxes:
        after = f"after {', '.join(box.after)}" if box.after else ""
        words = [f"{box.name:{width}}", box.note, after]
        yield indent + "  ".join(word for word in words if word).rstrip()
        yield from lines(box.inner, f"{indent}    ")


@dataclass(frozen=True, slots=True)
class _Outline:
    compiled: Compiled

    def boxes(self, nodes: Sequence[Node], path: tuple[str, ...]) -> tuple[Box, ...]:
        """`path` are the steps whose containers start these nodes, so that no loop is endless."""
        return tuple(self._box(node, path) for node in nodes)

    def _box(self, node: Node, path: tuple[str, ...]) -> Box:
        after = tuple(node.upstream_node_ids)
        name = node.metadata.name or node.id
        if node.HasField("array_node"):
            inner = node.array_node.node
            of = self._task(inner)
            return Box(node.id, "array", of, "once for each split", after)
        if node.HasField("branch_node"):
            arms = self.boxes(tuple(inner_nodes(node)), path)
            return Box(node.id, "choice", name, "one of", after, arms)
        if node.HasField("workflow_node"):
            reference = node.workflow_node.sub_workflow_ref.name
            part = self.compiled.parts[reference.removeprefix(f"{self.compiled.flow}.")]
            inner_boxes = self.boxes(part.nodes, path)
            return Box(node.id, "workflow", name, "sub-workflow", after, inner_boxes)
        return self._step(node, after, path)

    def _step(self, node: Node, after: tuple[str, ...], path: tuple[str, ...]) -> Box:
        step = self._task(node)
        expansion: Mapping[str, Any] | None = self.compiled.expansions.get(step)
        if expansion is None:
            return Box(node.id, "task", step, "", after)
        if step in path:
            return Box(node.id, "task", step, "again", after)
        each = "foreach" in expansion
        note = "starts, for each split," if each else "starts one of"
        started = [expansion["foreach"]] if each else list(expansion["switch"].values())
        inner = tuple(self._started(one, (*path, step)) for one in started if one)
        return Box(node.id, "expanded", step, note, after, inner)

    def _started(self, expansion: Mapping[str, Any], path: tuple[str, ...]) -> Box:
        node = decode_node(expansion["node"])
        node.id = expansion["id"]
        return self._box(node, path)

    def _task(self, node: Node) -> str:
        name: str = node.task_node.reference_id.name
        return name.removeprefix(f"{self.compiled.flow}.")
