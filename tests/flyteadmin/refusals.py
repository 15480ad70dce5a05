"""What flyteadmin says when it refuses: codes, messages and details of its pkg/errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flyteidl.admin.event_pb2 import EventErrorAlreadyInTerminalState, EventFailureReason
from flyteidl.admin.project_pb2 import Project
from flyteidl.admin.workflow_pb2 import (
    CreateWorkflowFailureReason,
    WorkflowErrorExistsDifferentStructure,
    WorkflowErrorExistsIdenticalStructure,
)
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import MessageToDict
from google.protobuf.text_format import MessageToString
from google.rpc.status_pb2 import Status
from grpc import StatusCode


class Refused(Exception):
    """An RPC that ends with another code than OK; `details` are messages beside the text."""

    def __init__(self, code: StatusCode, message: str, *details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def trailer(self) -> tuple[tuple[str, bytes], ...]:
        """The metadata in which gRPC sends the details."""
        if not self.details:
            return ()
        packed = []
        for detail in self.details:
            packed.append(Packed())
            packed[-1].Pack(detail)
        status = Status(code=self.code.value[0], message=self.message, details=packed)
        return (("grpc-status-details-bin", status.SerializeToString()),)


def text(message: Any) -> str:
    """A message as Go's `%v` prints it, on one line."""
    return str(MessageToString(message, as_one_line=True))


def invalid(message: str) -> Refused:
    """INVALID_ARGUMENT."""
    return Refused(StatusCode.INVALID_ARGUMENT, message)


def missing_argument(field: str) -> Refused:
    """A field that has to be set."""
    return invalid(f"missing {field}")


def invalid_argument(field: str) -> Refused:
    """A field that cannot have this value."""
    return invalid(f"invalid value for {field}")


def not_found(kind: str, identifier: Any) -> Refused:
    """An entity or execution that is not there."""
    return Refused(
        StatusCode.NOT_FOUND, f"missing entity of type {kind} with identifier {text(identifier)}"
    )


def exists(kind: str, identifier: Any) -> Refused:
    """The same `task`, `workflow` or `launch plan`, by its digest, is registered already."""
    message = f"{kind} with identical structure already exists"
    if kind != "workflow":
        return Refused(StatusCode.ALREADY_EXISTS, message)
    reason = WorkflowErrorExistsIdenticalStructure(id=identifier)
    return Refused(
        StatusCode.ALREADY_EXISTS,
        message,
        CreateWorkflowFailureReason(exists_identical_structure=reason),
    )


def differs(kind: str, identifier: Any, old: Any, new: Any) -> Refused:
    """Another one is registered under this identifier; the message shows what was replaced."""
    message = (
        f"{identifier.name} {kind} with different structure already exists. "
        f"(Please register a new version of the {kind}):\n" + "\n".join(_replaced(old, new))
    )
    if kind != "workflow":
        return invalid(message)
    reason = WorkflowErrorExistsDifferentStructure(id=identifier)
    return Refused(
        StatusCode.INVALID_ARGUMENT,
        message,
        CreateWorkflowFailureReason(exists_different_structure=reason),
    )


def inactive(project: Project) -> Refused:
    """A project that is archived."""
    return invalid(f"project [{project.id}] is not active")


def ended_already(phase: str) -> Refused:
    """An execution that cannot be ended, for it has."""
    state = EventErrorAlreadyInTerminalState(current_phase=phase)
    return Refused(
        StatusCode.FAILED_PRECONDITION,
        "Cannot abort an already terminate workflow execution",
        EventFailureReason(already_in_terminal_state=state),
    )


def _replaced(old: Any, new: Any) -> Iterator[str]:
    def walk(path: str, one: Any, other: Any) -> Iterator[str]:
        if isinstance(one, dict) and isinstance(other, dict):
            for key in sorted(one.keys() & other.keys()):
                yield from walk(f"{path}/{key}", one[key], other[key])
        elif isinstance(one, list) and isinstance(other, list):
            for index, pair in enumerate(zip(one, other, strict=False)):
                yield from walk(f"{path}/{index}", *pair)
        elif one != other:
            yield f"{path}:\n\t- {one} \n\t+ {other}"

    def plain(message: Any) -> Any:
        return MessageToDict(message, preserving_proto_field_name=True)

    return walk("", plain(old), plain(new))
