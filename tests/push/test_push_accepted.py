"""What a Flyte takes of a push: the double's, or a whole one (tests/flyteadmin/fixtures.py)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from mfbuild.bundle.read import Bundle
from mfbuild.engine.store import Store
from mfbuild.executions.trigger import trigger
from mfbuild.push.deployment import Deployment
from mfbuild.push.names import FlowWord, find_launch_plan
from mfbuild.push.push import Pushed
from mfbuild.push.target import PushTarget, target_of
from mfbuild.report import PlainReporter
from tests.flyteadmin.fixtures import Place as Flyte
from tests.flyteadmin.fixtures import flyte_place as flyte_place
from tests.push.conftest import configured
from tests.push.pushing import DOMAINS, S3, make_bundle, push_to, train_flow
from tests.registry import docker_registry

pytestmark = pytest.mark.tools


def test_registered_changed_activated_promoted_and_started(
    flyte_place: Flyte, tmp_path: Path
) -> None:
    flow = f"TrainFlow{secrets.token_hex(4)}"  # nobody else's, in a Flyte that others use
    scheme = "http" if flyte_place.insecure else "https"
    with docker_registry(tmp_path / "registry") as registry, Store.open(tmp_path / "s") as store:
        config = replace(
            configured(tmp_path, f"{scheme}://{flyte_place.endpoint}", f"{registry}/flows"),
            flyte_project=flyte_place.project,
        )
        domains = {
            name: replace(value, registry=f"{registry}/flows", metaflow=S3)
            for name, value in DOMAINS.items()
        }

        def push_target(domain: str) -> PushTarget:
            return target_of(domain, config, store, PlainReporter(StringIO()))

        def send(bundle: Bundle, domain: str, *, activate: bool) -> Pushed:
            return push_to(push_target(domain), bundle, Deployment("alice"), activate=activate)

        def bundle(code: bytes) -> Bundle:
            spec = train_flow(name=flow)
            return make_bundle(tmp_path / code.decode(), spec, code={"a": code}, domains=domains)

        first = send(bundle(b"one"), "staging", activate=True)
        assert len(first.sent) == 5
        assert send(bundle(b"one"), "staging", activate=True).sent == ()
        second = send(bundle(b"two"), "staging", activate=False)
        assert len(second.sent) == 2
        found = find_launch_plan(push_target("staging"), FlowWord(flow))
        assert (found.id.version, found.active) == (first.launch_plan.version, True)
        send(bundle(b"two"), "staging", activate=True)
        plans = push_target("staging").backend.registrations.launch_plans(
            flyte_place.project, "staging", flow
        )
        assert [plan.id.version for plan in plans if plan.active] == [second.launch_plan.version]
        assert len(send(bundle(b"two"), "production", activate=False).sent) == 5

        found = find_launch_plan(push_target("staging"), FlowWord(flow))
        started = trigger(push_target("staging"), found, [])
        execution = push_target("staging").backend.executions.get(started)
        assert execution is not None
        assert execution.of == second.launch_plan
        push_target("staging").backend.executions.terminate(started, "the test is done")
