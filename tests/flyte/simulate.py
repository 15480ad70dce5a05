"""Runs flows twice without any container: by Metaflow's rules, and by Flyte's, from the protobufs.

Both yield which tasks run and what has to be done before each: the same tasks must come out, and
nothing may begin before its parents are done.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from flyteidl.core.condition_pb2 import BooleanExpression
from flyteidl.core.literals_pb2 import BindingData, Scalar
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import Node, WorkflowTemplate

from mfbuild.flow.spec import FlowSpec, StepSpec
from mfbuild.flyte.names import CODE, ITERATION, PATH, PERSON, PLAN, RUN
from mfbuild.flyte.resolve import Resolved
from mfbuild.local.sandbox.pod import container_of

ROUNDS = 3
"""How often a recursive step runs at most."""


class Task(NamedTuple):
    """A Metaflow task: a step, the split of each foreach around it, and how often it has run."""

    step: str
    path: tuple[int, ...]
    iteration: int = 0


def splits(task: Task) -> int:
    """How many splits a foreach makes: 1 to 3, any but the same for each task."""
    return 1 + _number(task) % 3


def chosen(spec: FlowSpec, task: Task) -> str:
    """What a switch chooses, and not itself for ever."""
    ways = next(step for step in spec.steps if step.name == task.step).next
    choice = ways[_number(task) % len(ways)]
    if choice == task.step and task.iteration + 1 == ROUNDS:
        choice = next(way for way in ways if way != task.step)
    return choice


def _number(task: Task) -> int:
    return int.from_bytes(sha256(repr(tuple(task)).encode()).digest()[:4], "big")


# By Metaflow's rules (metaflow/runtime.py).


def by_metaflow(spec: FlowSpec) -> dict[Task, frozenset[Task]]:
    """Every task of a run with its parents."""
    steps = {step.name: step for step in spec.steps}
    parents: dict[Task, set[Task]] = defaultdict(set)
    waiting: dict[Task, int] = {}
    queue = [Task(spec.start, ())]
    parents[queue[0]] = set()
    while queue:
        task = queue.pop(0)
        for following, arrivals in _following(spec, steps, task):
            parents[following].add(task)
            waiting[following] = waiting.get(following, arrivals) - 1
            if waiting[following] == 0:
                queue.append(following)
    assert not any(waiting.values())
    return {task: frozenset(before) for task, before in parents.items()}


def _following(
    spec: FlowSpec, steps: Mapping[str, StepSpec], task: Task
) -> Iterator[tuple[Task, int]]:
    """The tasks that follow one, with how many must come before each."""
    step = steps[task.step]
    if step.type == "foreach":
        for index in range(splits(task)):
            yield Task(step.next[0], (*task.path, index)), 1
        return
    ways: Iterable[str] = [chosen(spec, task)] if step.type == "split-switch" else step.next
    for name in ways:
        if name == task.step:
            yield Task(name, task.path, task.iteration + 1), 1
        elif steps[name].type == "join":
            yield _joined(steps, name, task)
        else:
            yield Task(name, task.path), 1


def _joined(steps: Mapping[str, StepSpec], join: str, task: Task) -> tuple[Task, int]:
    (opener,) = (step for step in steps.values() if step.matching_join == join)
    if opener.type == "split":
        return Task(join, task.path), len(opener.next)
    outer = task.path[:-1]
    return Task(join, outer), splits(Task(opener.name, outer))


# By Flyte's rules, as docs/flyte.md says that the runtime behaves.


@dataclass
class Flyte:
    """Runs the entities of one flow; `before` collects what was done before each task began."""

    spec: FlowSpec
    resolved: Resolved
    before: dict[Task, frozenset[Task]] = field(default_factory=dict)

    def run(self) -> dict[Task, frozenset[Task]]:
        templates = _Templates(
            {t.id.SerializeToString(): t for t in self.resolved.tasks.values()},
            {w.id.SerializeToString(): w for w in self.resolved.sub_workflows},
        )
        inputs = {CODE: "c", PLAN: "p", RUN: "r", PERSON: "{}"}
        names = self.resolved.workflow.interface.inputs.variables
        given = {name: inputs.get(name, "") for name in names}
        self._workflow(self.resolved.workflow.nodes, given, templates, frozenset())
        return self.before

    def _workflow(
        self,
        nodes: Iterable[Node],
        inputs: Mapping[str, Any],
        templates: _Templates,
        before: frozenset[Task],
    ) -> frozenset[Task]:
        """Run nodes in an order that their edges allow; what is done when all of them are."""
        outputs: dict[str, Mapping[str, Any]] = {"": inputs}
        done: dict[str, frozenset[Task]] = {"": before}
        pending = list(nodes)
        while pending:
            node = next(n for n in pending if _needs(n) <= done.keys())
            pending.remove(node)
            earlier = before.union(*(done[name] for name in _needs(node)))
            given = {b.var: _value(b.binding, outputs) for b in node.inputs}
            outputs[node.id], done[node.id] = self._node(node, given, inputs, templates, earlier)
        return before.union(*done.values())

    def _node(
        self,
        node: Node,
        given: Mapping[str, Any],
        around: Mapping[str, Any],
        templates: _Templates,
        before: frozenset[Task],
    ) -> tuple[Mapping[str, Any], frozenset[Task]]:
        if node.HasField("task_node"):
            return self._task(templates.task(node), given, before)
        if node.HasField("array_node"):
            task = templates.task(node.array_node.node)
            fixed = {k: v for k, v in given.items() if not isinstance(v, list)}
            (mapped,) = given.keys() - fixed.keys()
            runs = [self._task(task, {**fixed, mapped: v}, before)[1] for v in given[mapped]]
            return {}, before.union(*runs)
        if node.HasField("workflow_node"):
            nodes = templates.workflows[_key(node.workflow_node.sub_workflow_ref)].nodes
            return {}, self._workflow(nodes, given, templates, before)
        arms = [node.branch_node.if_else.case, *node.branch_node.if_else.other]
        (arm,) = (a.then_node for a in arms if _holds(a.condition, given))
        return {}, self._workflow([arm], around, templates, before)

    def _task(
        self, template: TaskTemplate, given: Mapping[str, Any], before: frozenset[Task]
    ) -> tuple[Mapping[str, Any], frozenset[Task]]:
        """Be the container: its command line is all that it knows."""
        assert given.keys() == set(template.interface.inputs.variables)
        _, _, _, step, *words = (_rendered(word, given) for word in container_of(template).command)
        options = dict(zip(words[::2], words[1::2], strict=True))
        assert options["--code"] == "c" and options["--person"] == "{}"
        path = [int(i) for i in options.get("--path", "").split("/") if i]
        path += [int(options["--split"])] if "--split" in options else []
        task = Task(step, tuple(path), int(options.get("--iteration", 0)))
        assert task not in self.before
        self.before[task] = before
        if "--count" in options:
            (opener,) = (s for s in self.spec.steps if s.matching_join == step)
            assert int(options["--count"]) == splits(Task(opener.name, task.path))
        return self._results(task, template, given, before | {task})

    def _results(
        self,
        task: Task,
        template: TaskTemplate,
        given: Mapping[str, Any],
        done: frozenset[Task],
    ) -> tuple[Mapping[str, Any], frozenset[Task]]:
        step = next(s for s in self.spec.steps if s.name == task.step)
        known: dict[str, Any] = {}
        if step.type == "foreach":
            known = {"count": splits(task), "splits": list(range(splits(task)))}
        if step.type == "split-switch":
            known = {"choice": chosen(self.spec, task)}
        outputs = {name: known[name] for name in template.interface.outputs.variables}
        plan = json.loads(self.resolved.expansion_plan or b'{"steps": {}}')
        planned = plan["steps"].get(task.step)
        if not planned:
            return outputs, done
        assert "choice" not in outputs and "splits" not in outputs
        if "foreach" in planned:
            started = [(planned["foreach"], i) for i in range(splits(task))]
        else:
            started = [(planned["switch"][chosen(self.spec, task)], 0)]
        nodes = [self._expanded(e, given, index) for e, index in started if e]
        templates = _Templates.of(plan, [e for e, _ in started if e])
        return outputs, self._workflow(nodes, {}, templates, done)

    def _expanded(self, expansion: Any, given: Mapping[str, Any], index: int) -> Node:
        node = Node.FromString(b64decode(expansion["node"]))
        node.id = f"{expansion['id']}-{index}"
        for name, rule in expansion["inputs"].items():
            path = f"{given[PATH]}/{index}" if PATH in given else str(index)
            value = {
                "same": given.get(name),
                "split": path,
                "first": 0,
                "next": given.get(ITERATION, 0) + 1,
            }[rule]
            primitive = node.inputs.add(var=name).binding.scalar.primitive
            if isinstance(value, int):
                primitive.integer = value
            else:
                primitive.string_value = value
        return node


@dataclass(frozen=True)
class _Templates:
    """What a workflow, or a futures.pb, can refer to."""

    tasks: Mapping[bytes, TaskTemplate]
    workflows: Mapping[bytes, WorkflowTemplate]

    @classmethod
    def of(cls, plan: Any, expansions: Iterable[Any]) -> _Templates:
        tasks = {n: plan["tasks"][n] for e in expansions for n in e["tasks"]}
        workflows = {n: plan["workflows"][n] for e in expansions for n in e["workflows"]}
        read = [TaskTemplate.FromString(b64decode(text)) for text in tasks.values()]
        parts = [WorkflowTemplate.FromString(b64decode(text)) for text in workflows.values()]
        return cls({_key(t.id): t for t in read}, {_key(w.id): w for w in parts})

    def task(self, node: Node) -> TaskTemplate:
        return self.tasks[_key(node.task_node.reference_id)]


def _key(identifier: Any) -> bytes:
    return bytes(identifier.SerializeToString())


def _needs(node: Node) -> set[str]:
    promised = {b.binding.promise.node_id for b in node.inputs if b.binding.HasField("promise")}
    return promised | set(node.upstream_node_ids)


def _value(binding: BindingData, outputs: Mapping[str, Mapping[str, Any]]) -> Any:
    if binding.HasField("promise"):
        return outputs[binding.promise.node_id][binding.promise.var]
    return _scalar(binding.scalar)


def _scalar(scalar: Scalar) -> Any:
    return getattr(scalar.primitive, scalar.primitive.WhichOneof("value"))


def _holds(condition: BooleanExpression, given: Mapping[str, Any]) -> bool:
    comparison = condition.comparison
    wanted = comparison.right_value.primitive.string_value
    return bool(given[comparison.left_value.var] == wanted)


def _rendered(word: str, given: Mapping[str, Any]) -> str:
    return re.sub(r"\{\{\.inputs\.(\w+)\}\}", lambda match: str(given[match[1]]), word)
