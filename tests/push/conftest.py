"""Places to push to: the embedded backend, and a double of flyteadmin with a real registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from mfbuild.bundle.model import DomainRecord
from mfbuild.config import Config, read_config
from mfbuild.engine.store import Store
from mfbuild.push.deployment import Deployment
from mfbuild.push.target import PushTarget, target_of
from mfbuild.report import PlainReporter
from tests.flyteadmin.double import Double, flyteadmin
from tests.push.faulty import Faulty, faulty
from tests.push.pushing import DOMAINS, PROJECT, S3
from tests.registry import docker_registry


@dataclass
class Target:
    """Where the tests push: `domains` is the record of bundles for it."""

    config: Config
    store: Store
    domains: Mapping[str, DomainRecord]
    double: Double | None

    def at(self, domain: str = "staging") -> PushTarget:
        return target_of(domain, self.config, self.store, PlainReporter(StringIO()))

    def deployment(self, **changes: Any) -> Deployment:
        return Deployment(**{"owner": "alice", **changes})


@pytest.fixture(params=["local", pytest.param("flyteadmin", marks=pytest.mark.tools)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(tmp_path / "store"))
        root = tmp_path / "workspace"
        root.mkdir()
        if request.param == "local":
            config = configured(root, "local", None)
            yield Target(config, store, DOMAINS, None)
            return
        registry = stack.enter_context(docker_registry(tmp_path / "registry"))
        double = stack.enter_context(flyteadmin(tmp_path / "admin", projects=[PROJECT]))
        config = configured(root, f"http://{double.endpoint}", f"{registry}/flows")
        domains = {
            name: replace(value, registry=f"{registry}/flows", metaflow=S3)
            for name, value in DOMAINS.items()
        }
        yield Target(config, store, domains, double)


def configured(root: Path, endpoint: str, registry: str | None) -> Config:
    env = {"HOME": str(root), "MFBUILD_ENDPOINT": endpoint, "MFBUILD_PROJECT": PROJECT}
    if registry:
        env["MFBUILD_REGISTRY"] = registry
    return read_config(root, env, {})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """Where a push of the new version is disturbed."""
    with faulty(tmp_path_factory.mktemp("faulty")) as flyte:
        flyte.begin(lambda: flyte.push(flyte.new))
        yield flyte


@pytest.fixture
def flyte(running: Faulty) -> Faulty:
    running.restore()
    return running
