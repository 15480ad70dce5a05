"""Lists: pages, filters, order; projects and domains."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.admin.common_pb2 import (
    NamedEntityIdentifier,
    NamedEntityIdentifierListRequest,
    ResourceListRequest,
    Sort,
)
from flyteidl.admin.launch_plan_pb2 import ACTIVE, LaunchPlanUpdateRequest
from flyteidl.admin.project_pb2 import (
    GetDomainRequest,
    Project,
    ProjectGetRequest,
    ProjectListRequest,
    ProjectRegisterRequest,
)
from flyteidl.admin.version_pb2 import GetVersionRequest
from flyteidl.core.identifier_pb2 import Identifier
from grpc import StatusCode

from tests.cluster.handmade import DOMAIN, PROJECT, text
from tests.flyteadmin.double import Client, Double
from tests.flyteadmin.entities import (
    create_launch_plan,
    launch_plan,
    refusal,
    registered,
)

INVALID = StatusCode.INVALID_ARGUMENT
NEWEST = Sort(key="created_at", direction=Sort.DESCENDING)
NAME = NamedEntityIdentifier(project=PROJECT, domain=DOMAIN, name="flow")


def ask(limit: int = 99, name: str = "flow", **fields: Any) -> ResourceListRequest:
    place = NamedEntityIdentifier(project=PROJECT, domain=DOMAIN, name=name)
    return ResourceListRequest(id=place, limit=limit, **fields)


def versions(client: Client, request: ResourceListRequest) -> str:
    return "".join(plan.id.version for plan in client.admin.ListLaunchPlans(request).launch_plans)


@pytest.fixture
def made(client: Client) -> list[Identifier]:
    """Five versions of a launch plan, and one of another."""
    registered(client)
    fixed = {"code": text("a")}
    create_launch_plan(client, launch_plan(fixed), "other")
    return [create_launch_plan(client, launch_plan(fixed), version=v) for v in "12345"]


@pytest.mark.usefixtures("made")
def test_pages(client: Client) -> None:
    found, token, pages = "", "", 0
    while pages == 0 or token:
        request = ask(2, token=token, sort_by=NEWEST)
        answer = client.admin.ListLaunchPlans(request)
        found += "".join(plan.id.version for plan in answer.launch_plans)
        token, pages = answer.token, pages + 1
    assert (found, pages) == ("54321", 3)
    # A full page has a token though nothing follows.
    assert client.admin.ListLaunchPlans(ask(5)).token == "5"
    assert client.admin.ListLaunchPlans(ask(5, token="5")).launch_plans == []


@pytest.mark.usefixtures("made")
def test_order(client: Client) -> None:
    assert versions(client, ask(sort_by=NEWEST)) == "54321"
    assert versions(client, ask(sort_by=Sort(key="version", direction=Sort.ASCENDING))) == "12345"
    assert versions(client, ask(name="")) == "112345"


def test_without_an_order_what_was_written_last_comes_last(
    client: Client, made: list[Identifier]
) -> None:
    client.admin.UpdateLaunchPlan(LaunchPlanUpdateRequest(id=made[1], state=ACTIVE))
    assert versions(client, ask()) == "13452"


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("eq(version,2)", "2"),
        ("ne(version, 2)", "1345"),
        ("gte(version,4)", "45"),
        ("lt(version,2)", "1"),
        ("value_in(version,1;5;9)", "15"),
        ("value_not_in(version,1;5)", "234"),
        ("contains(name,lo)", "12345"),
        ("eq(name,flow)+gt(version,3)", "45"),
        ("eq(state,0)", "12345"),
        ("eq(workflow.name,flow)", "12345"),
        ("eq(schedule_type,CRON)", ""),
        ("gt(created_at,2000-01-01T00:00:00Z)", "12345"),
    ],
)
def test_filters(client: Client, filters: str, found: str) -> None:
    assert versions(client, ask(filters=filters)) == found


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit": 0}, "invalid value for limit"),
        ({"token": "x"}, "invalid pagination token x for ListLaunchPlans"),
        ({"token": "-1"}, "invalid pagination token -1 for ListLaunchPlans"),
        ({"sort_by": Sort(key="colour")}, "invalid sort key 'colour'"),
        ({"filters": "version"}, "invalid value for filters"),
        ({"filters": "like(version,1)"}, "unrecognized filter function: like"),
        ({"filters": "eq(colour,1)"}, "'launch_plan.colour' is invalid filter"),
        ({"filters": "eq(task.name,1)"}, "'task' entity is not allowed in filters"),
    ],
)
def test_a_list_that_is_refused(client: Client, fields: dict[str, Any], message: str) -> None:
    assert refusal(client.admin.ListLaunchPlans, ask(**fields)) == (INVALID, message)


def test_a_list_is_of_one_project_and_domain(client: Client) -> None:
    assert refusal(client.admin.ListTasks, ResourceListRequest())[1] == "missing id"
    request = ask(name="")
    request.id.domain = ""
    assert refusal(client.admin.ListTasks, request)[1] == "missing domain"


@pytest.mark.usefixtures("made")
def test_tasks_and_workflows(client: Client) -> None:
    (task,) = client.admin.ListTasks(ask(name="start")).tasks
    assert task.closure.compiled_task.template.type == "python-task"
    (workflow,) = client.admin.ListWorkflows(ask()).workflows
    template = workflow.closure.compiled_workflow.primary.template
    assert list(template.interface.inputs.variables) == ["code"]
    assert not template.nodes
    wanted = NamedEntityIdentifierListRequest(project=PROJECT, domain=DOMAIN, limit=9)
    names = [
        [entity.name for entity in call(wanted).entities]
        for call in (
            client.admin.ListTaskIds,
            client.admin.ListWorkflowIds,
            client.admin.ListLaunchPlanIds,
        )
    ]
    assert names == [["start"], ["flow"], ["other", "flow"]]


def test_projects_and_domains(double: Double, client: Client) -> None:
    client.admin.RegisterProject(ProjectRegisterRequest(project=Project(id="new", name="New")))
    downwards = Sort(key="identifier", direction=Sort.DESCENDING)
    found = client.admin.ListProjects(ProjectListRequest(sort_by=downwards)).projects
    assert [project.id for project in found] == ["other", "new", "flows"]
    assert [domain.id for domain in found[1].domains] == [DOMAIN, "staging"]
    double.state.projects["other"].state = Project.ARCHIVED
    listed = client.admin.ListProjects(ProjectListRequest()).projects
    assert [project.id for project in listed] == ["flows", "new"]
    archived = ProjectListRequest(filters="eq(state,1)")
    assert [project.id for project in client.admin.ListProjects(archived).projects] == ["other"]
    assert client.admin.GetProject(ProjectGetRequest(id="new")).name == "New"
    assert refusal(client.admin.GetProject, ProjectGetRequest(id="none")) == (
        StatusCode.NOT_FOUND,
        "project [none] not found",
    )
    assert [d.id for d in client.admin.GetDomains(GetDomainRequest()).domains] == [
        DOMAIN,
        "staging",
    ]
    assert client.admin.GetVersion(GetVersionRequest()).control_plane_version.Version == "v1.16.8"


@pytest.mark.parametrize(
    ("project", "code", "message"),
    [
        (Project(id="a"), INVALID, "missing project_name"),
        (Project(name="A"), INVALID, "missing project_id"),
        (Project(id="A_b", name="A"), INVALID,
         "invalid project id [A_b]: [a DNS-1123 label is needed]"),
        (Project(id="flows", name="A"), StatusCode.ALREADY_EXISTS,
         "value with matching already exists "
         '(duplicate key value violates unique constraint "projects_pkey")'),
    ],
)  # fmt: skip
def test_a_project_that_is_refused(
    client: Client, project: Project, code: StatusCode, message: str
) -> None:
    request = ProjectRegisterRequest(project=project)
    assert refusal(client.admin.RegisterProject, request) == (code, message)
