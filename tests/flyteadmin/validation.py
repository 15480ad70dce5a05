"""What is asked of identifiers, projects and tasks before anything is written.

flyteadmin's pkg/manager/impl/validation, and two rules more, whose breach it would not notice:
names and versions have at most 255 characters, as its models' own tags say, and a version can stand
in a URL, as `ValidateVersion` says, which nothing calls.
"""

from __future__ import annotations

import re
from typing import Any

from flyteidl.admin.project_pb2 import Project
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, TASK, WORKFLOW, Identifier, ResourceType
from flyteidl.core.tasks_pb2 import Resources, TaskTemplate
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from tests.flyteadmin.quantities import Quantity, quantity
from tests.flyteadmin.refusals import (
    Refused,
    inactive,
    invalid,
    missing_argument,
    text,
)
from tests.flyteadmin.state import State

LONGEST = 255
MAX_LABELS = 16
_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]+")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_TYPES = {TASK: "task", WORKFLOW: "workflow", LAUNCH_PLAN: "launch_plan"}


def check_identifier(identifier: Identifier | None, expected: int) -> None:
    """An identifier of the expected type with all its fields."""
    if identifier is None:
        raise missing_argument("id")
    if identifier.resource_type != expected:
        found = ResourceType.Name(identifier.resource_type).lower()
        raise invalid(
            f"unexpected resource type {found} for identifier [{text(identifier)}], "
            f"expected {_TYPES[expected]} instead"
        )
    check_fields(identifier)


def check_fields(identifier: Identifier | None) -> None:
    """An identifier with all its fields, of any type."""
    if identifier is None:
        raise missing_argument("id")
    for name in ("project", "domain", "name", "version"):
        if not getattr(identifier, name):
            raise missing_argument(name)


def check_new(identifier: Identifier) -> None:
    """The rules that are the double's own, for what is about to be written."""
    for name in ("name", "version"):
        if len(getattr(identifier, name)) > LONGEST:
            raise invalid(f"{name} cannot exceed {LONGEST} characters")
    if not _URL_SAFE.fullmatch(identifier.version):
        raise invalid(
            f"version [{identifier.version}] must be url safe, "
            "cannot contains chars [!*'();:@&=+$,/?#[]]"
        )


def check_place(state: State, project: str, domain: str) -> None:
    """A project that exists and is active, and a domain of the configuration."""
    found = state.projects.get(project)
    if found is None:
        raise invalid(
            f"failed to validate that project [{project}] and domain [{domain}] are registered, "
            f"err: [project [{project}] not found]"
        )
    if found.state != Project.ACTIVE:
        raise inactive(found)
    if domain not in {known.id for known in state.domains}:
        raise invalid(f"domain [{domain}] is unrecognized by system")


def check_task(state: State, request: Any) -> None:
    """A TaskCreateRequest."""
    check_identifier(request.id if request.HasField("id") else None, TASK)
    check_place(state, request.id.project, request.id.domain)
    if not request.HasField("spec") or not request.spec.HasField("template"):
        raise missing_argument("spec")
    check_new(request.id)
    template = request.spec.template
    if not template.type:
        raise missing_argument("type")
    if not template.HasField("metadata"):
        raise missing_argument("metadata")
    if template.metadata.HasField("runtime") and not template.metadata.runtime.version:
        raise missing_argument("runtime version")
    if not template.HasField("interface"):
        raise missing_argument("typed interface")
    if template.HasField("container"):
        _check_container(state, request.id, template)
    elif template.HasField("k8s_pod"):
        _check_pod(state, request.id, template)
    compile_task(template)


def compile_task(template: TaskTemplate) -> None:
    """What Flyte's compiler asks of a container that takes or gives something."""
    interface = template.interface
    if not template.HasField("container"):
        return
    if not interface.inputs.variables and not interface.outputs.variables:
        return
    if not template.container.command and not template.container.args:
        raise Refused(
            StatusCode.INTERNAL,
            "Collected Errors: 1\n\tError 0: Code: ValueRequired, Node Id: container, "
            "Description: Value required [command].\n",
        )


def check_labels(labels: Any) -> None:
    """Labels that Kubernetes takes, at most 16."""
    if len(labels.values) > MAX_LABELS:
        raise invalid(f"labels map cannot exceed {MAX_LABELS} entries")
    for key, value in labels.values.items():
        prefix, slash, name = key.rpartition("/")
        if not _LABEL_NAME.fullmatch(name) or (slash and not _LABEL_PREFIX.fullmatch(prefix)):
            raise invalid(f"invalid label key [{key}]: [a qualified name is needed]")
        if value and not _LABEL_NAME.fullmatch(value):
            raise invalid(f"invalid label value [{value}]: [a valid label is needed]")


def _check_container(state: State, identifier: Identifier, template: TaskTemplate) -> None:
    if not template.container.image:
        raise missing_argument("image")
    resources = template.container.resources
    requests = _quantities(identifier, resources.requests)
    _check_resources(state, identifier, requests, _quantities(identifier, resources.limits))


def _check_pod(state: State, identifier: Identifier, template: TaskTemplate) -> None:
    if not template.k8s_pod.HasField("pod_spec"):
        raise invalid(
            "invalid TaskSpecification, pod tasks should specify their target as a K8sPod "
            "with a defined pod spec"
        )
    for container in MessageToDict(template.k8s_pod.pod_spec).get("containers", []):
        stated = container.get("resources", {})
        requests, limits = (
            {
                name.upper(): _parse(name.upper(), str(value))
                for name, value in stated.get(part, {}).items()
            }
            for part in ("requests", "limits")
        )
        _check_resources(state, identifier, requests, limits)


def _quantities(identifier: Identifier, entries: Any) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {}
    for entry in entries:
        name = Resources.ResourceName.Name(entry.name)
        if name in found:
            raise invalid(
                f"can't specify {name} limit for task [{text(identifier)}] multiple times"
            )
        found[name] = _parse(name, entry.value)
        if name == "GPU" and found[name].milli % 1000:
            raise invalid(
                f"gpu for [{text(identifier)}] must be a whole number, got: {entry.value} instead"
            )
    return found


def _parse(name: str, value: str) -> Quantity:
    try:
        return quantity(value)
    except ValueError as error:
        raise invalid(
            f"Parsing of {name} request failed for value {value} - reason  {error}. "
            "Please follow K8s conventions for resources https://kubernetes.io/docs/concepts/"
            "configuration/manage-resources-containers/"
        ) from None


def _check_resources(
    state: State,
    identifier: Identifier,
    requests: dict[str, Quantity],
    limits: dict[str, Quantity],
) -> None:
    for name, asked in requests.items():
        limit, most = limits.get(name), state.limits.get(name)
        if name == "GPU":
            if limit and limit.milli != asked.milli:
                raise invalid(
                    "For extended resource 'gpu' the default value must equal the limit value "
                    f"for task [{text(identifier)}]"
                )
        elif limit and limit.milli < asked.milli:
            raise invalid(
                f"Requested {name} default [{asked}] is greater than the limit [{limit}]. "
                "Please fix your configuration"
            )
        for what, value in (("limit", limit), ("default", asked)):
            if most and value and value.milli > quantity(most).milli:
                raise invalid(
                    f"Requested {name} {what} [{value}] is greater than current limit set in the "
                    f"platform configuration [{most}]. Please contact Flyte Admins to change "
                    "these limits or consult the configuration"
                )
