"""Nodes of a workflow at work: each waits for those it depends on, and then becomes its kind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flyteidl.core.literals_pb2 import Binding, BindingData, Literal
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.types_pb2 import OutputReference
from flyteidl.core.workflow_pb2 import Node

from mfbuild.errors import RunError
from mfbuild.local.workflow import branch
from mfbuild.local.workflow.array_node import ArrayRun
from mfbuild.local.workflow.bindings import attribute, resolve_all
from mfbuild.local.workflow.model import Library, NodeFailure, Success, Values, key_of
from mfbuild.local.workflow.tasks import AttemptedTask, retries_of, timeout_of

START = "start-node"
"""What propeller calls the node whose outputs are the workflow's inputs."""

_LONGEST_ID = 100


@dataclass(frozen=True, slots=True)
class Context:
    """What every node of an execution tells it: tasks to run, failures, things to do, skips."""

    add: Callable[[AttemptedTask], None]
    fail: Callable[[NodeFailure], None]
    later: Callable[[Callable[[], None]], None]
    skip: Callable[[str], None]


@dataclass(slots=True)
class _Waiting:
    """A node that has not begun: how many others it waits for, and if one of them was skipped."""

    node: Node
    missing: int
    arm: bool
    skipped: bool = False


class Scope:
    """Nodes that see each other's outputs: a workflow's, or those of a futures.pb.

    `prefix` is the id of the node that they stand for; `done` gets the outputs of the whole.
    """

    def __init__(
        self,
        context: Context,
        prefix: str,
        nodes: Iterable[Node],
        outputs: Iterable[Binding],
        inputs: Values,
        library: Library,
        done: Callable[[Values], None],
    ) -> None:
        self._context, self._prefix, self._library = context, prefix, library
        self._bindings, self._done = list(outputs), done
        self._outputs: dict[str, Values] = {START: inputs, "": inputs}
        self._waiting: dict[str, _Waiting] = {}
        self._dependents: dict[str, list[str]] = {}
        for node in nodes:
            self._enter(node, arm=False)
        if strangers := sorted(self._dependents.keys() - self._waiting.keys()):
            raise RunError(f"nodes wait for `{self._id(strangers[0])}`, which is no node")
        self._left = sum(not w.arm for w in self._waiting.values())

    def begin(self) -> None:
        """Start what depends on nothing."""
        for name, state in list(self._waiting.items()):
            self._start_if_due(name, state)
        self._end_if_done()

    def _enter(self, node: Node, *, arm: bool) -> None:
        if node.id in self._waiting:
            raise RunError(f"two nodes have the id `{self._id(node.id)}`")
        needs = set(_upstream(node)) - {START, "", node.id}
        self._waiting[node.id] = _Waiting(node, len(needs), arm)
        for name in needs:
            self._dependents.setdefault(name, []).append(node.id)
        if node.WhichOneof("target") == "branch_node":
            for each in branch.arms(node.branch_node.if_else):
                self._enter(each, arm=True)

    def _id(self, name: str) -> str:
        """The run-wide id of a node; a long one keeps its end, so that it can name a folder."""
        whole = f"{self._prefix}.{name}" if self._prefix else name
        if len(whole) <= _LONGEST_ID:
            return whole
        return f"{hashlib.sha256(self._prefix.encode()).hexdigest()[:16]}.{name}"

    def _start_if_due(self, name: str, state: _Waiting) -> None:
        if state.missing or state.arm or self._waiting.get(name) is not state:
            return
        del self._waiting[name]
        if state.skipped:
            self._skip(state.node)
            self._context.later(lambda: self._finish(name, {}, skipped=True))
        else:
            self._run(state.node, lambda outputs: self._finish(name, outputs))

    def _finish(self, name: str, outputs: Values, *, skipped: bool = False) -> None:
        """The node `name` of this scope is over: what waited for it may begin."""
        self._outputs[name] = outputs
        self._left -= 1
        self._release(name, skipped)
        self._end_if_done()

    def _release(self, name: str, skipped: bool) -> None:
        for dependent in self._dependents.get(name, ()):
            if state := self._waiting.get(dependent):
                state.missing -= 1
                state.skipped |= skipped
                self._start_if_due(dependent, state)

    def _end_if_done(self) -> None:
        if self._left == 0:
            self._left = -1
            self._context.later(lambda: self._done(resolve_all(self._bindings, self._promised)))

    def _promised(self, reference: OutputReference) -> Literal:
        outputs = self._outputs.get(reference.node_id)
        if outputs is None or reference.var not in outputs:
            raise RunError(f"node `{self._id(reference.node_id)}` has no output `{reference.var}`")
        path = [getattr(step, step.WhichOneof("value")) for step in reference.attr_path]
        return attribute(outputs[reference.var], path, f"output `{reference.var}`")

    def _run(self, node: Node, done: Callable[[Values], None]) -> None:
        """Begin a node all of whose inputs are there."""
        inputs = resolve_all(node.inputs, self._promised)
        kind, aliases = node.WhichOneof("target"), {a.var: a.alias for a in node.output_aliases}
        if aliases:
            inner, done = (
                done,
                lambda found: inner({aliases.get(n, n): v for n, v in found.items()}),
            )
        if kind == "task_node":
            self._context.add(self._task(node, inputs, done))
        elif kind == "array_node":
            self._array(node, inputs, done)
        elif kind == "branch_node":
            self._branch(node, inputs, done)
        elif kind == "workflow_node":
            self._workflow(node, inputs, done)
        else:
            raise RunError(f"node `{self._id(node.id)}` is a `{kind}`, which cannot be run here")

    def _task(self, node: Node, inputs: Values, done: Callable[[Values], None]) -> AttemptedTask:
        task, name = self._template(node), self._id(node.id)
        return AttemptedTask(
            id=name,
            task=task,
            inputs=inputs,
            values=inputs,
            retries=retries_of(node, task),
            timeout=timeout_of(node),
            done=lambda success: self._succeeded(name, success, done),
            failed=self._context.fail,
        )

    def _succeeded(self, name: str, success: Success, done: Callable[[Values], None]) -> None:
        """A task is done, unless it wants nodes of its own to be run in its place."""
        if (futures := success.futures) is None:
            done(success.outputs)
            return
        library = self._library.extended(futures)
        Scope(self._context, name, futures.nodes, futures.outputs, {}, library, done).begin()

    def _template(self, node: Node) -> TaskTemplate:
        key = key_of(node.task_node.reference_id)
        if key not in self._library.tasks:
            raise RunError(f"node `{self._id(node.id)}` runs the task `{key[2]}`, which is missing")
        return self._library.tasks[key]

    def _array(self, node: Node, inputs: Values, done: Callable[[Values], None]) -> None:
        inner = node.array_node.node
        if inner.WhichOneof("target") != "task_node":
            raise RunError(f"ArrayNode `{self._id(node.id)}` maps what is no task")
        ArrayRun(
            id=self._id(node.id),
            node=node.array_node,
            task=self._template(inner),
            inputs=inputs,
            add=self._context.add,
            fail=self._context.fail,
            done=done,
        ).begin()

    def _branch(self, node: Node, inputs: Values, done: Callable[[Values], None]) -> None:
        """Run the arm that is chosen; the branch is over when the arm is."""
        block = node.branch_node.if_else
        taken = branch.chosen(block, inputs)
        for arm in branch.arms(block):
            del self._waiting[arm.id]
            if arm.id != taken.id:
                self._skip(arm)
                self._release(arm.id, skipped=True)

        def over(outputs: Values) -> None:
            self._outputs[taken.id] = outputs
            self._release(taken.id, skipped=False)
            done(outputs)

        self._run(taken, over)

    def _workflow(self, node: Node, inputs: Values, done: Callable[[Values], None]) -> None:
        reference = node.workflow_node
        key = key_of(reference.sub_workflow_ref)
        if reference.WhichOneof("reference") != "sub_workflow_ref":
            raise RunError(f"node `{self._id(node.id)}` runs a launch plan, not a sub-workflow")
        if key not in self._library.workflows:
            raise RunError(f"the sub-workflow `{key[2]}` of `{self._id(node.id)}` is missing")
        inner = self._library.workflows[key]
        Scope(
            self._context,
            self._id(node.id),
            inner.nodes,
            inner.outputs,
            inputs,
            self._library,
            done,
        ).begin()

    def _skip(self, node: Node) -> None:
        self._context.skip(self._id(node.id))


def _upstream(node: Node) -> Iterator[str]:
    """The ids that a node waits for: named, promised to it, or to the arms that it may run."""
    yield from node.upstream_node_ids
    for binding in node.inputs:
        yield from _promisers(binding.binding)
    if node.WhichOneof("target") == "branch_node":
        own = {node.id, *(arm.id for arm in branch.arms(node.branch_node.if_else))}
        for arm in branch.arms(node.branch_node.if_else):
            yield from (name for name in _upstream(arm) if name not in own)


def _promisers(data: BindingData) -> Iterator[str]:
    kind = data.WhichOneof("value")
    if kind == "promise":
        yield data.promise.node_id
    inner: Any = ()
    if kind == "collection":
        inner = data.collection.bindings
    elif kind == "map":
        inner = data.map.bindings.values()
    for each in inner:
        yield from _promisers(each)
