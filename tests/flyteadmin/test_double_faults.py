"""Faults: the connection breaks, before or after a call took effect; errors, lies, delays."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin.project_pb2 import GetDomainRequest, ProjectListRequest
from flyteidl.core.identifier_pb2 import TASK
from flyteidl.service.auth_pb2 import OAuth2MetadataRequest, PublicClientAuthConfigRequest
from grpc import StatusCode

from tests.flyteadmin.auth import CLIENT, SECRET
from tests.flyteadmin.double import Client, Double, flyteadmin
from tests.flyteadmin.entities import create_task, got, identifier, refusal, simple_task
from tests.flyteadmin.faults import answer, cut, delay, lie


@pytest.mark.parametrize("after", [False, True])
def test_the_connection_breaks(double: Double, client: Client, after: bool) -> None:
    double.faults.add("CreateTask", cut(after=after))
    assert refusal(create_task, client, simple_task())[0] == StatusCode.UNAVAILABLE
    assert bool(double.state.tasks.rows) == after
    with double.connect() as again:
        try:
            create_task(again, simple_task())
        except grpc.RpcError as error:
            assert after and error.code() == StatusCode.ALREADY_EXISTS
    assert len(double.state.tasks.rows) == 1
    assert double.calls["CreateTask"] == 2


@pytest.mark.parametrize("after", [False, True])
def test_an_error_is_answered(double: Double, client: Client, after: bool) -> None:
    double.faults.add("CreateTask", answer(StatusCode.RESOURCE_EXHAUSTED, "busy", after=after))
    assert refusal(create_task, client, simple_task()) == (StatusCode.RESOURCE_EXHAUSTED, "busy")
    assert bool(double.state.tasks.rows) == after


def test_a_fault_waits_for_its_call(double: Double, client: Client) -> None:
    client.admin.GetDomains(GetDomainRequest())
    double.faults.add("GetDomains", cut(), call=2)
    client.admin.GetDomains(GetDomainRequest())
    assert refusal(client.admin.GetDomains, GetDomainRequest())[0] == StatusCode.UNAVAILABLE
    assert double.calls == {"GetDomains": 3}
    assert double.requests == [("GetDomains", GetDomainRequest())] * 3


def test_a_fault_on_every_call(double: Double, client: Client) -> None:
    double.faults.always("GetDomains", answer(StatusCode.PERMISSION_DENIED))
    for _ in range(2):
        assert refusal(client.admin.GetDomains, GetDomainRequest())[0] == (
            StatusCode.PERMISSION_DENIED
        )
    double.faults.always("GetDomains", None)
    assert len(client.admin.GetDomains(GetDomainRequest()).domains) == 2


@pytest.mark.parametrize("after", [False, True])
def test_a_slow_server(double: Double, client: Client, after: bool) -> None:
    answered = threading.Event()
    double.faults.add("GetDomains", delay(answered, after=after))
    with pytest.raises(grpc.RpcError) as caught:
        client.admin.GetDomains(GetDomainRequest(), timeout=0.2)
    assert caught.value.code() == StatusCode.DEADLINE_EXCEEDED
    answered.set()


def test_a_lie_is_told_once_and_never_kept(double: Double, client: Client) -> None:
    create_task(client, simple_task())

    def change(task: Any) -> None:
        task.closure.compiled_task.template.container.image = "another"

    double.faults.add("GetTask", lie(change))
    made = identifier(TASK, "start")
    told, kept = (got(client.admin.GetTask, made) for _ in range(2))
    assert told.closure.compiled_task.template.container.image == "another"
    assert kept.closure.compiled_task.template == simple_task()


def test_a_token_is_wanted_by_all_that_is_not_about_tokens(tmp_path: Path) -> None:
    with flyteadmin(tmp_path, token="secret") as double, double.connect() as client:
        code, message = refusal(client.admin.ListProjects, ProjectListRequest())
        assert code == StatusCode.UNAUTHENTICATED
        assert message.startswith("token parse error ")
        assert client.auth.GetOAuth2Metadata(OAuth2MetadataRequest()).token_endpoint
        public = client.auth.GetPublicClientConfig(PublicClientAuthConfigRequest())
        assert public.authorization_metadata_key == "authorization"
        bearer = [("authorization", "Bearer secret")]
        assert client.admin.ListProjects(ProjectListRequest(), metadata=bearer).projects
        renewed = double.authority.expire()
        with pytest.raises(grpc.RpcError):
            client.admin.ListProjects(ProjectListRequest(), metadata=bearer)
        bearer = [("authorization", f"Bearer {renewed}")]
        assert client.admin.ListProjects(ProjectListRequest(), metadata=bearer).projects


def test_the_token_endpoint_gives_the_token_for_the_clients_secret(tmp_path: Path) -> None:
    import requests

    with flyteadmin(tmp_path, token="secret") as double, double.connect() as client:
        url = client.auth.GetOAuth2Metadata(OAuth2MetadataRequest()).token_endpoint
        grant = {"grant_type": "client_credentials"}
        assert requests.post(url, data=grant, auth=(CLIENT, "wrong"), timeout=9).status_code == 401
        given = requests.post(url, data=grant, auth=(CLIENT, SECRET), timeout=9).json()
        assert given["access_token"] == double.authority.token == "secret"


def test_tls_is_spoken_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    with flyteadmin(tmp_path, secure=True) as double:
        with double.connect() as client:
            assert client.admin.ListProjects(ProjectListRequest()).projects
        with grpc.secure_channel(double.endpoint, grpc.ssl_channel_credentials()) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                Client(type(client.admin)(channel), None, None).admin.ListProjects(
                    ProjectListRequest()
                )
            assert caught.value.code() == StatusCode.UNAVAILABLE


def test_what_is_not_told_of_is_unimplemented(client: Client) -> None:
    from flyteidl.admin.project_attributes_pb2 import ProjectAttributesGetRequest

    call = client.admin.GetProjectAttributes
    assert refusal(call, ProjectAttributesGetRequest())[0] == StatusCode.UNIMPLEMENTED
