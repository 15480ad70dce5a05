"""Servers that lie, and hosts that a registry sends us to: nothing of ours is given away, nothing
else is taken for it, and nothing is made active that is not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from grpc import StatusCode

from mfbuild.errors import FlyteError, PushError
from mfbuild.flyte.names import CODE
from mfbuild.flyte.templates import fixed
from mfbuild.runtime import code
from mfbuild.runtime.errors import NonRecoverable
from tests.flyteadmin.faults import answer, lie
from tests.proxy import Fault, Seen
from tests.push.faulty import PUSHING, Faulty, faulty, problem_of
from tests.registry import Answer, Request, scripted
from tests.tokens import token_server

pytestmark = pytest.mark.tools


def told(flyte: Faulty) -> str:
    return problem_of(FlyteError, flyte.do, flyte.tokens.read_text())


def other_account(plan: Any) -> None:
    plan.spec.security_context.run_as.k8s_service_account = "robot"


def other_workflow(plan: Any) -> None:
    plan.spec.workflow_id.version = "0" * 40


def other_code(plan: Any) -> None:
    literal = plan.spec.fixed_inputs.literals[CODE].scalar.primitive
    literal.string_value = literal.string_value[:-64] + "0" * 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_account, "security_context"),
        (other_workflow, "workflow_id.version"),
        (other_code, "`code` is another one: "),
    ],
)
def test_another_launch_plan_is_not_made_active(
    flyte: Faulty, change: Callable[[Any], None], said: str
) -> None:
    flyte.do()
    flyte.push(flyte.old)
    before = flyte.standing()
    flyte.double.calls.clear()
    flyte.double.faults.always("GetLaunchPlan", lie(change))
    words = told(flyte)
    version = flyte.new.manifest.version[:12]
    assert words.startswith(
        f"launch plan `flows/staging/TrainFlow@{version}` has other content:\n  {said}"
    )
    assert flyte.double.calls["UpdateLaunchPlan"] == 0
    assert flyte.standing() == before


def other_task(task: Any) -> None:
    task.closure.compiled_task.template.container.image = "evil.example.com/image"


def other_flow(workflow: Any) -> None:
    del workflow.closure.compiled_workflow.primary.template.nodes[-2:]


@pytest.mark.parametrize(
    ("rpc", "change", "said"),
    [
        ("GetTask", other_task, "task `flows/staging/TrainFlow."),
        ("GetWorkflow", other_flow, "workflow `flows/staging/TrainFlow@"),
    ],
)
def test_another_entity_is_not_built_upon(
    flyte: Faulty, rpc: str, change: Callable[[Any], None], said: str
) -> None:
    """They are there, as after a push that was cut off before its launch plan."""
    flyte.double.faults.always("CreateLaunchPlan", answer(StatusCode.PERMISSION_DENIED))
    told(flyte)
    flyte.calm()
    flyte.double.calls.clear()
    flyte.double.faults.always(rpc, lie(change))
    with pytest.raises(FlyteError) as caught:
        flyte.do()
    for problem in caught.value.problems:
        assert problem.message.startswith(said)
        assert " has other content:\n  " in problem.message
    assert flyte.double.calls["CreateLaunchPlan"] == 0
    flyte.check_kept()
    flyte.check_again()


@pytest.mark.parametrize("rpc", ["CreateTask", "CreateWorkflow", "CreateLaunchPlan"])
def test_what_is_said_to_exist_and_does_not(flyte: Faulty, rpc: str) -> None:
    flyte.double.faults.always(rpc, answer(StatusCode.ALREADY_EXISTS, "it is there"))
    with pytest.raises(FlyteError, match="exists, and cannot be read"):
        flyte.do()
    flyte.check_kept()
    flyte.check_again()


def elsewhere(flyte: Faulty, url: str) -> None:
    """Whoever asks where to upload to is told that the file is at `url` then."""

    def change(location: Any) -> None:
        location.native_url = url

    flyte.double.faults.always("CreateUploadLocation", lie(change))


def test_what_lies_at_a_foreign_address_must_be_ours(flyte: Faulty) -> None:
    """Whatever address is given, the digest is of what was packaged; a pod takes nothing else."""
    url = "s3://of-somebody-else/code.tar.gz"
    elsewhere(flyte, url)
    found = flyte.at().backend.registrations.launch_plan(flyte.do().launch_plan)
    assert found is not None
    address = fixed(found.spec, CODE)
    own = flyte.new.manifest.code
    assert address == f"{url}#sha256={own.digest.hex}"
    with pytest.raises(NonRecoverable, match="it was changed"):
        code.fetch(address, lambda asked: b"code of somebody else")
    data = b"".join(flyte.new.layout.chunks(own))
    assert code.fetch(address, {url: data}.__getitem__) == data


NO_URLS = ("", "code", f"s3://b/c#sha256={'0' * 64}", "s3://b/a c", "s3://b/\n")


@pytest.mark.parametrize("url", NO_URLS)
def test_an_address_that_is_none_is_not_registered(flyte: Faulty, url: str) -> None:
    """A version never changes: with such an address it could never run."""
    elsewhere(flyte, url)
    name = f"`{flyte.double.endpoint}`"
    assert told(flyte) == f"{name} gives an address that is none for the file `code.tar.gz`"
    flyte.check_again()


NOWHERE = ("http://[", "https://\u2100.com/x?signature=y", "file:///etc/passwd")


@pytest.mark.parametrize("url", NOWHERE)
def test_an_upload_to_nowhere(flyte: Faulty, url: str) -> None:
    def change(location: Any) -> None:
        location.signed_url = url

    flyte.double.faults.always("CreateUploadLocation", lie(change))
    assert "Flyte's bucket does not take the file `code.tar.gz`: " in told(flyte)
    flyte.check_again()


def test_a_header_that_cannot_be_sent(flyte: Faulty) -> None:
    def change(location: Any) -> None:
        location.headers["x-amz-meta-name"] = "\u2100"

    flyte.double.faults.always("CreateUploadLocation", lie(change))
    assert "does not take the file `code.tar.gz`: it cannot be asked: UnicodeEncodeError" in told(
        flyte
    )


REPOSITORIES = dict.fromkeys(("staging/trainflow", "production/trainflow"), "pull,push")


@pytest.fixture(scope="module", params=["Basic", "Bearer"])
def guarded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Faulty]:
    """Where the registry wants a password, or a token of a server that wants one."""
    folder = tmp_path_factory.mktemp("guarded")
    with ExitStack() as stack:
        options: dict[str, Any] = {"login": True}
        if request.param == "Bearer":
            tokens = stack.enter_context(token_server(folder / "tokens", REPOSITORIES))
            options = {"auth": tokens.auth}
        flyte = stack.enter_context(faulty(folder, **options))
        flyte.begin(lambda: flyte.push(flyte.new))
        yield flyte


def takes_all(request: Request) -> Answer:
    """Another host, which takes what it is sent, and wants a login for the rest."""
    if request.method == "PUT":
        return Answer(201)
    return Answer(401, headers={"WWW-Authenticate": "Basic realm=elsewhere"})


@pytest.mark.parametrize("kind", PUSHING)
def test_another_host_never_hears_who_we_are(guarded: Faulty, kind: str) -> None:
    guarded.restore()
    with scripted(takes_all) as other:
        moved = Answer(307, headers={"Location": f"http://{other.host}/elsewhere"})

        def rule(seen: Seen) -> Fault | None:
            return Fault(answer=moved) if seen.kind == kind else None

        guarded.proxy.rule = rule
        with suppress(PushError):
            guarded.do()
    assert other.seen
    for request in other.seen:
        assert request.path == "/elsewhere"
        assert not {"Authorization", "Cookie", "Proxy-Authorization"} & request.headers.keys()
    if kind != "PUT tag":  # where a registry keeps its tags is its own affair
        guarded.check_kept()
    guarded.check_again()
