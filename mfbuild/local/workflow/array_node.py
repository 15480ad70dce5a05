"""An ArrayNode at work: one task per element of its lists, so many at once as it allows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from flyteidl.core.literals_pb2 import Literal, Scalar, Void
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import ArrayNode

from mfbuild.errors import RunError
from mfbuild.local.workflow.model import NodeFailure, Success, Values
from mfbuild.local.workflow.tasks import AttemptedTask, retries_of, timeout_of


@dataclass(slots=True)
class ArrayRun:
    """The elements of one ArrayNode; `done` gets each output as the list of the elements'."""

    id: str
    node: ArrayNode
    task: TaskTemplate
    inputs: Values
    add: Callable[[AttemptedTask], None]
    fail: Callable[[NodeFailure], None]
    done: Callable[[Values], None]
    _waiting: deque[AttemptedTask] = field(default_factory=deque)
    _results: list[Values | None] = field(default_factory=list)
    _left: int = 0
    _failed: int = 0

    def begin(self) -> None:
        """Start as many elements as may run at once."""
        elements = self._elements()
        self._left = len(elements)
        self._results = [None] * self._left
        self._waiting.extend(self._element(i, values) for i, values in enumerate(elements))
        for _ in range(self.node.parallelism or self._left):
            self._start_next()
        self._end_if_done()

    def _elements(self) -> list[Values]:
        """The values of each element: one of every list, and what is bound for all."""
        bound = set(self.node.bound_inputs)
        lists = {n: v.collection.literals for n, v in self.inputs.items() if n not in bound}
        lengths = {len(found) for found in lists.values()}
        if len(lengths) != 1:
            raise RunError(f"the lists of ArrayNode `{self.id}` have `{sorted(lengths)}` elements")
        shared = {n: v for n, v in self.inputs.items() if n in bound}
        return [shared | {n: found[i] for n, found in lists.items()} for i in range(lengths.pop())]

    def _element(self, index: int, values: Values) -> AttemptedTask:
        return AttemptedTask(
            id=f"{self.id}.{index}",
            task=self.task,
            inputs=self.inputs,
            values=values,
            retries=retries_of(self.node.node, self.task),
            timeout=timeout_of(self.node.node),
            done=lambda success: self._succeeded(index, success),
            failed=self._element_failed,
            array=self.id,
            index=index,
        )

    def _start_next(self) -> None:
        if self._waiting:
            self.add(self._waiting.popleft())

    def _succeeded(self, index: int, success: Success) -> None:
        if success.futures is not None:
            raise RunError(f"element `{index}` of `{self.id}` wrote futures.pb: Flyte ignores it")
        self._results[index] = success.outputs
        self._ended()

    def _element_failed(self, failure: NodeFailure) -> None:
        self._failed += 1
        if self._failed > len(self._results) - self._needed():
            self.fail(failure)
        else:
            self._ended()

    def _ended(self) -> None:
        self._left -= 1
        self._start_next()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._left == 0:
            names = self.task.interface.outputs.variables
            self.done({name: self._collected(name) for name in names})

    def _collected(self, name: str) -> Literal:
        """One output of all elements; a failed element's is none."""
        nothing = Literal(scalar=Scalar(none_type=Void()))
        found = Literal()
        found.collection.SetInParent()
        found.collection.literals.extend(
            nothing if outputs is None else outputs[name] for outputs in self._results
        )
        return found

    def _needed(self) -> int:
        """How many elements must succeed; all where nothing is said."""
        size, criterion = len(self._results), self.node.WhichOneof("success_criteria")
        if criterion == "min_successes":
            return min(size, int(self.node.min_successes))
        if criterion == "min_success_ratio":
            return math.ceil(size * float(self.node.min_success_ratio))
        return size
