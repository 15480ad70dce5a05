"""Projects and domains, and what the server says of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flyteidl.admin.project_pb2 import (
    GetDomainsResponse,
    Project,
    ProjectRegisterResponse,
    Projects,
)
from flyteidl.admin.version_pb2 import GetVersionResponse, Version
from grpc import StatusCode

from tests.flyteadmin.listing import matching, ordered, page
from tests.flyteadmin.refusals import Refused, invalid, missing_argument
from tests.flyteadmin.state import Row, State
from tests.flyteadmin.validation import check_labels

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def new_projects(names: Sequence[str]) -> dict[str, Project]:
    """Active projects."""
    return {name: Project(id=name, name=name, state=Project.ACTIVE) for name in names}


def register_project(state: State, request: Any) -> ProjectRegisterResponse:
    """RegisterProject."""
    project = request.project
    if not project.name:
        raise missing_argument("project_name")
    if not project.id:
        raise missing_argument("project_id")
    check_labels(project.labels)
    if not _DNS_LABEL.fullmatch(project.id):
        raise invalid(f"invalid project id [{project.id}]: [a DNS-1123 label is needed]")
    if project.domains:
        raise invalid(
            "Domains are currently only set system wide. Please retry without domains included "
            "in your request."
        )
    if project.id in state.projects:
        raise Refused(
            StatusCode.ALREADY_EXISTS,
            "value with matching already exists "
            '(duplicate key value violates unique constraint "projects_pkey")',
        )
    kept = Project()
    kept.CopyFrom(project)
    state.projects[project.id] = kept
    return ProjectRegisterResponse()


def get_project(state: State, request: Any) -> Project:
    """GetProject."""
    if request.id not in state.projects:
        raise Refused(StatusCode.NOT_FOUND, f"project [{request.id}] not found")
    return _with_domains(state, state.projects[request.id])


def list_projects(state: State, request: Any) -> Projects:
    """ListProjects: without a filter those that are not archived, by identifier."""
    rows = [
        Row(project, {"identifier": project.id, "name": project.name, "state": project.state})
        for project in sorted(state.projects.values(), key=lambda project: project.id)
        if request.filters or project.state != Project.ARCHIVED
    ]
    sort = request.sort_by if request.HasField("sort_by") else None
    rows = ordered(matching(rows, "project", request.filters), "project", sort)
    rows, token = page(rows, request.limit, request.token, "ListProjects")
    return Projects(projects=[_with_domains(state, row.message) for row in rows], token=token)


def get_domains(state: State, request: Any) -> GetDomainsResponse:
    """GetDomains."""
    return GetDomainsResponse(domains=state.domains)


def get_version(state: State, request: Any) -> GetVersionResponse:
    """GetVersion."""
    return GetVersionResponse(control_plane_version=Version(Build="double", Version="v1.16.8"))


def _with_domains(state: State, project: Project) -> Project:
    whole = Project()
    whole.CopyFrom(project)
    whole.domains.extend(state.domains)
    return whole
