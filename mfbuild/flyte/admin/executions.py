"""The port Executions over AdminService."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flyteidl.admin import common_pb2, execution_pb2
from flyteidl.core.execution_pb2 import WorkflowExecution
from flyteidl.core.identifier_pb2 import Identifier, WorkflowExecutionIdentifier
from flyteidl.core.literals_pb2 import Literal, LiteralMap

from mfbuild.errors import FlyteError
from mfbuild.flyte.admin.client import PAGE, Client
from mfbuild.flyte.admin.failures import Refusal
from mfbuild.flyte.admin.registrations import NEWEST_FIRST, described
from mfbuild.flyte.admin.tasks import list_tasks, times
from mfbuild.flyte.backend import Execution, ExecutionId, Phase, TaskRun
from mfbuild.flyte.names import RUN

PHASES: Mapping[int, Phase] = {
    WorkflowExecution.UNDEFINED: "queued",
    WorkflowExecution.QUEUED: "queued",
    WorkflowExecution.RUNNING: "running",
    WorkflowExecution.SUCCEEDING: "running",
    WorkflowExecution.SUCCEEDED: "succeeded",
    WorkflowExecution.FAILING: "running",
    WorkflowExecution.FAILED: "failed",
    WorkflowExecution.ABORTED: "aborted",
    WorkflowExecution.TIMED_OUT: "timed out",
    WorkflowExecution.ABORTING: "running",
}


class AdminExecutions:
    """What runs at one Flyte."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def start(self, id: ExecutionId, of: Identifier, inputs: LiteralMap) -> None:
        mode = execution_pb2.ExecutionMetadata.MANUAL
        metadata = execution_pb2.ExecutionMetadata(mode=mode)
        request = execution_pb2.ExecutionCreateRequest(
            project=id.project,
            domain=id.domain,
            name=id.name,
            spec=execution_pb2.ExecutionSpec(launch_plan=of, metadata=metadata),
            inputs=inputs,
        )
        try:
            doing = f"start {described(of)} as `{id.name}`"
            self._client.call(self._client.admin.CreateExecution, request, doing)
        except Refusal as refusal:
            if refusal.code != "ALREADY_EXISTS":
                raise
            if not self._is_running(id, of, inputs):
                message = f"an execution `{id.name}` of something else is there already"
                raise FlyteError(message) from None

    def get(self, id: ExecutionId) -> Execution | None:
        request = execution_pb2.WorkflowExecutionGetRequest(id=identifier(id))
        doing = f"find the execution `{id.name}`"
        try:
            found = self._client.call(self._client.admin.GetExecution, request, doing)
        except Refusal as refusal:
            if refusal.code == "NOT_FOUND":
                return None
            raise
        return _execution(found)

    def list(self, project: str, domain: str, flow: str | None = None) -> Iterator[Execution]:
        """As the port says; errors of executions are cut short by the server."""
        request = common_pb2.ResourceListRequest(
            id=common_pb2.NamedEntityIdentifier(project=project, domain=domain),
            limit=PAGE,
            filters=f"eq(launch_plan.name,{flow})" if flow else "",
            sort_by=NEWEST_FIRST,
        )
        method, doing = self._client.admin.ListExecutions, "list its executions"
        for found in self._client.pages(method, request, "executions", doing):
            yield _execution(found)

    def run_input(self, id: ExecutionId) -> str:
        inputs = self._inputs(id)
        return inputs[RUN].scalar.primitive.string_value if RUN in inputs else ""

    def tasks(self, id: ExecutionId) -> Sequence[TaskRun]:
        return list_tasks(self._client, identifier(id))

    def terminate(self, id: ExecutionId, cause: str) -> None:
        request = execution_pb2.ExecutionTerminateRequest(id=identifier(id), cause=cause)
        doing = f"terminate the execution `{id.name}`"
        try:
            self._client.call(self._client.admin.TerminateExecution, request, doing)
        except Refusal:
            # How flyteadmin refuses to end what has ended differs between its versions.
            found = self.get(id)
            if found is None or not found.is_done:
                raise

    def _is_running(self, id: ExecutionId, of: Identifier, inputs: LiteralMap) -> bool:
        """Whether the execution `id` runs `of` with `inputs`."""
        found = self.get(id)
        if found is None or found.of != of:
            return False
        there = self._inputs(id)
        return all(there.get(name) == value for name, value in inputs.literals.items())

    def _inputs(self, id: ExecutionId) -> Mapping[str, Literal]:
        request = execution_pb2.WorkflowExecutionGetDataRequest(id=identifier(id))
        doing = f"tell the inputs of the execution `{id.name}`"
        data = self._client.call(self._client.admin.GetExecutionData, request, doing)
        return dict(data.full_inputs.literals)


def identifier(id: ExecutionId) -> WorkflowExecutionIdentifier:
    return WorkflowExecutionIdentifier(project=id.project, domain=id.domain, name=id.name)


def _execution(found: execution_pb2.Execution) -> Execution:
    closure, phase = found.closure, PHASES.get(found.closure.phase, "running")
    began, ended = times(closure, done=phase not in ("queued", "running"))
    return Execution(
        id=ExecutionId(found.id.project, found.id.domain, found.id.name),
        of=found.spec.launch_plan,
        phase=phase,
        began=began,
        ended=ended,
        error=_error(closure),
        cluster=found.spec.metadata.system_metadata.execution_cluster or None,
    )


def _error(closure: execution_pb2.ExecutionClosure) -> str | None:
    """Why an execution failed, or was ended by somebody."""
    if closure.HasField("abort_metadata"):
        return closure.abort_metadata.cause or None
    return (closure.error.message or closure.error.code) if closure.HasField("error") else None
