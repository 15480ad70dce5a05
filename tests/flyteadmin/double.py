"""A double of flyteadmin 1.16.8: its services over real gRPC, as strict as it is.

`python -m tests.flyteadmin.double` starts one and keeps it until ^C.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from flyteidl.admin.project_pb2 import Domain
from flyteidl.service.admin_pb2_grpc import (
    AdminServiceServicer,
    AdminServiceStub,
    add_AdminServiceServicer_to_server,
)
from flyteidl.service.auth_pb2_grpc import (
    AuthMetadataServiceServicer,
    AuthMetadataServiceStub,
    add_AuthMetadataServiceServicer_to_server,
)
from flyteidl.service.dataproxy_pb2_grpc import (
    DataProxyServiceServicer,
    DataProxyServiceStub,
    add_DataProxyServiceServicer_to_server,
)
from flyteidl.service.identity_pb2_grpc import (
    IdentityServiceServicer,
    add_IdentityServiceServicer_to_server,
)

from tests.flyteadmin import (
    events,
    executions,
    launch_plans,
    node_executions,
    projects,
    registration,
)
from tests.flyteadmin.auth import Authority
from tests.flyteadmin.bucket import Bucket, loopback_bucket
from tests.flyteadmin.certificates import Tls, tls
from tests.flyteadmin.dataproxy import create_upload_location
from tests.flyteadmin.executor import Executor
from tests.flyteadmin.faults import Call, Cut, Faults
from tests.flyteadmin.projects import new_projects
from tests.flyteadmin.refusals import Refused
from tests.flyteadmin.state import State
from tests.flyteadmin.wire import Wire, wire

Handler = Callable[[State, Any], Any]

ADMIN: Mapping[str, Handler] = {
    "CreateTask": registration.create_task,
    "GetTask": registration.get_task,
    "ListTasks": registration.list_tasks,
    "ListTaskIds": registration.list_ids("task", "ListUniqueTaskIdentifiers"),
    "CreateWorkflow": registration.create_workflow,
    "GetWorkflow": registration.get_workflow,
    "ListWorkflows": registration.list_workflows,
    "ListWorkflowIds": registration.list_ids("workflow", "ListWorkflowIdentifiers"),
    "CreateLaunchPlan": launch_plans.create_launch_plan,
    "GetLaunchPlan": registration.get_launch_plan,
    "ListLaunchPlans": registration.list_launch_plans,
    "ListLaunchPlanIds": registration.list_ids("launch_plan", "ListLaunchPlanIds"),
    "GetActiveLaunchPlan": launch_plans.get_active_launch_plan,
    "ListActiveLaunchPlans": launch_plans.list_active_launch_plans,
    "UpdateLaunchPlan": launch_plans.update_launch_plan,
    "CreateExecution": executions.create_execution,
    "GetExecution": executions.get_execution,
    "GetExecutionData": executions.get_execution_data,
    "ListExecutions": executions.list_executions,
    "TerminateExecution": executions.terminate_execution,
    "CreateWorkflowEvent": events.create_workflow_event,
    "CreateNodeEvent": events.create_node_event,
    "CreateTaskEvent": events.create_task_event,
    "GetNodeExecution": node_executions.get_node_execution,
    "GetNodeExecutionData": node_executions.get_node_execution_data,
    "GetDynamicNodeWorkflow": node_executions.get_dynamic_node_workflow,
    "ListNodeExecutions": node_executions.list_node_executions,
    "GetTaskExecution": node_executions.get_task_execution,
    "ListTaskExecutions": node_executions.list_task_executions,
    "RegisterProject": projects.register_project,
    "GetProject": projects.get_project,
    "ListProjects": projects.list_projects,
    "GetDomains": projects.get_domains,
    "GetVersion": projects.get_version,
}
"""What AdminService answers; the rest is UNIMPLEMENTED."""


@dataclass(frozen=True)
class Double:
    """A running double.

    `endpoint` is `host:port`. `faults` injects what goes wrong; `calls` counts calls by RPC, with
    uploads as `PUT`; `requests` are all of them in order. `authority.token` may be changed.
    """

    endpoint: str
    state: State
    faults: Faults
    bucket: Bucket
    authority: Authority
    tls: Tls | None

    @property
    def calls(self) -> Counter[str]:
        return self.faults.calls

    @property
    def requests(self) -> Sequence[tuple[str, Any]]:
        return self.faults.requests

    def uploaded(self, url: str) -> bytes:
        """What was uploaded to a native URL, `s3://<bucket>/<key>`; KeyError if nothing was."""
        found = self.bucket.head(url.removeprefix(f"s3://{self.bucket.name}/"))
        if found is None:
            raise KeyError(url)
        return found.data

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """Stubs for a test of its own."""
        with self._channel() as channel:
            yield Client(
                AdminServiceStub(channel),
                DataProxyServiceStub(channel),
                AuthMetadataServiceStub(channel),
            )

    def _channel(self) -> grpc.Channel:
        if self.tls is None:
            return grpc.insecure_channel(self.endpoint)
        credentials = grpc.ssl_channel_credentials(self.tls.authority.read_bytes())
        return grpc.secure_channel(self.endpoint, credentials)


@dataclass(frozen=True)
class Client:
    """The stubs of flyteidl."""

    admin: Any
    data_proxy: Any
    auth: Any


@contextmanager
def flyteadmin(
    folder: Path,
    *,
    projects: Sequence[str] = ("flytesnacks",),
    domains: Sequence[str] = ("development", "staging", "production"),
    token: str | None = None,
    secure: bool = False,
    limits: Mapping[str, str] | None = None,
    bucket: Bucket | None = None,
    executor: Callable[[State], Executor] | None = None,
) -> Iterator[Double]:
    """Run a double on the loopback.

    `token`: the bearer token that it wants; `secure`: it speaks TLS, with files in `folder`;
    `limits`: what a task may ask for at most, by name of resource (`CPU`, `MEMORY`, `GPU`);
    `bucket`: where uploads go, else one on the loopback; `executor`: makes what runs
    executions, else they are accepted and nothing comes of them.
    """
    certificates = tls(folder / "tls") if secure else None
    state = State(
        new_projects(projects),
        tuple(Domain(id=name, name=name) for name in domains),
        limits or {},
    )
    if executor:
        state.executor = executor(state)
    faults, authority = Faults(), Authority(token)
    with ExitStack() as stack:
        context = certificates.context() if certificates else None
        own = stack.enter_context(loopback_bucket(faults, authority.post, context))
        authority.origin = own.origin
        bucket = bucket or own
        services = _Services(state, faults, authority)
        server = services.server(_handlers(state, bucket, authority))
        port = _listen(server, certificates)
        services.wire = stack.enter_context(wire(port))
        server.start()
        stack.callback(lambda: server.stop(0).wait())
        stack.callback(state.executor.close)
        endpoint = f"127.0.0.1:{services.wire.port}"
        yield Double(endpoint, state, faults, bucket, authority, certificates)


def _handlers(
    state: State, bucket: Bucket, authority: Authority
) -> Mapping[str, Callable[[Any], Any]]:
    def bound(handler: Handler) -> Callable[[Any], Any]:
        return lambda request: handler(state, request)

    return {
        **{rpc: bound(handler) for rpc, handler in ADMIN.items()},
        "CreateUploadLocation": lambda request: create_upload_location(bucket, request),
        "GetOAuth2Metadata": authority.metadata,
        "GetPublicClientConfig": authority.client,
        "UserInfo": authority.user,
    }


@dataclass
class _Services:
    """How a call comes to its handler: counted, let in, with its fault, one at a time."""

    state: State
    faults: Faults
    authority: Authority
    wire: Wire | None = None

    def server(self, handlers: Mapping[str, Callable[[Any], Any]]) -> grpc.Server:
        server = grpc.server(ThreadPoolExecutor(max_workers=64))
        for servicer, add in (
            (AdminServiceServicer, add_AdminServiceServicer_to_server),
            (DataProxyServiceServicer, add_DataProxyServiceServicer_to_server),
            (AuthMetadataServiceServicer, add_AuthMetadataServiceServicer_to_server),
            (IdentityServiceServicer, add_IdentityServiceServicer_to_server),
        ):
            service = servicer()
            for rpc, handler in handlers.items():
                if hasattr(service, rpc):
                    setattr(service, rpc, self._answers(rpc, handler))
            add(service, server)
        return server

    def _answers(
        self, rpc: str, handler: Callable[[Any], Any]
    ) -> Callable[[Any, grpc.ServicerContext], Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            def perform() -> Any:
                self.authority.check(rpc, context.invocation_metadata())
                with self.state.lock:
                    return handler(request)

            def cut() -> None:
                assert self.wire
                self.wire.cut(context.peer())

            try:
                return self.faults.answer(Call(rpc, request, perform, cut))
            except Cut:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is gone")
            except Refused as refused:
                context.set_trailing_metadata(refused.trailer())
                context.abort(refused.code, refused.message)

        return answer


def _listen(server: grpc.Server, certificates: Tls | None) -> int:
    if certificates is None:
        return server.add_insecure_port("127.0.0.1:0")
    pair = (certificates.key.read_bytes(), certificates.certificate.read_bytes())
    return server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))


def main() -> None:
    """Start a double and keep it until ^C."""
    with tempfile.TemporaryDirectory() as folder, flyteadmin(Path(folder)) as double:
        sys.stdout.write(f"{double.endpoint}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
