"""A Flyte and a registry that fail as they are told, and what a push leaves at both."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from flyteidl.admin.launch_plan_pb2 import ACTIVE

from mfbuild.bundle.read import Bundle
from mfbuild.flyte.admin.backend import AdminBackend
from mfbuild.flyte.admin.client import Client
from mfbuild.flyte.admin.executions import AdminExecutions
from mfbuild.flyte.admin.registrations import AdminRegistrations
from mfbuild.flyte.settings import COMMAND, Settings
from mfbuild.oci.auth import Credentials
from mfbuild.oci.transport import Registry
from mfbuild.push.bundles import InRegistry
from mfbuild.push.deployment import Deployment
from mfbuild.push.places import Place
from mfbuild.push.push import Pushed, push
from mfbuild.report import PlainReporter
from tests.flyteadmin.bucket import LoopbackBucket
from tests.flyteadmin.double import Double, flyteadmin
from tests.flyteadmin.script import Script
from tests.flyteadmin.state import Table
from tests.proxy import Proxy, proxied
from tests.push.conftest import PROJECT, S3
from tests.push.pushing import DOMAINS, make_bundle
from tests.pushes import state
from tests.registry import PASSWORD, USER, docker_registry


@dataclass(frozen=True)
class Standing:
    """What is at a Flyte and in a registry: what never changes by its name, and what is live.

    `entities` are digests of tasks, workflows and launch plans; `uploads` the files of the bucket;
    `images` the links of each repository; `active` the launch plans that are.
    """

    entities: dict[tuple[str, ...], str]
    uploads: dict[str, bytes]
    images: frozenset[str]
    active: set[tuple[str, ...]]

    def check_between(self, before: Standing, after: Standing) -> None:
        """Nothing is gone, or another, or too much; a version is active only when it is whole."""
        assert before.entities.items() <= self.entities.items() <= after.entities.items()
        assert before.uploads.items() <= self.uploads.items() <= after.uploads.items()
        assert before.images <= self.images <= after.images
        assert self.active == before.active or self == after


@dataclass
class Faulty:
    """A double of flyteadmin that wants a token, and a docker-registry behind a proxy.

    `old` and `new` are versions of one flow. `began` is where all starts: the old one is active in
    staging and production; `undisturbed` is what a push of the new one to staging leaves.
    """

    folder: Path
    double: Double
    proxy: Proxy
    domains: Any
    waited: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = self.folder / "token"
        self.renew()
        self.old = self.bundle("old")
        self.new = self.bundle("new", packages={"fit": "pandas==2"})
        self.push(self.old)
        self.push(self.old, "production")
        self.began = self.standing()
        self._tables = [copy.deepcopy(table.rows) for table in self._kept()]
        self._uploads = dict(self._bucket.objects)
        shutil.copytree(self._repositories, self.folder / "began")
        self.push(self.new)
        self.undisturbed = self.standing()

    def bundle(self, code: str, **changes: Any) -> Bundle:
        """A bundle of TrainFlow with another file of code."""
        files = {"train.py": code.encode()}
        return make_bundle(self.folder / code, code=files, domains=self.domains, **changes)

    def renew(self) -> None:
        """Let the token expire, of which there is a new one."""
        self.tokens.write_text(self.double.authority.expire())

    def place(self, domain: str = "staging", *, seconds: float = 10.0) -> Place:
        """The place as `place_of` makes it, whose clients hardly wait before they try again."""
        command = ("cat", str(self.tokens))
        settings = Settings(self.double.endpoint, "a test", True, login=COMMAND, command=command)
        client = Client(settings, self._pause, seconds)
        backend = AdminBackend("flyte", AdminRegistrations(client), AdminExecutions(client))
        registry, reporter = self.domains[domain]["registry"], PlainReporter(StringIO())
        return Place(backend, InRegistry(registry, 2, reporter, self._open), embedded=False)

    def push(self, bundle: Bundle, domain: str = "staging", *, seconds: float = 10.0) -> Pushed:
        """Push and activate."""
        place = self.place(domain, seconds=seconds)
        return push(bundle, Deployment(PROJECT, domain, "alice"), place, activate=True)

    def restore(self) -> None:
        """Bring Flyte and its bucket back to where all began, and nothing fails."""
        self.calm()
        self.double.calls.clear()
        self.proxy.seen.clear()
        self.waited.clear()
        for table, rows in zip(self._kept(), self._tables, strict=True):
            table.rows = copy.deepcopy(rows)
        state = self.double.state
        for table in (state.executions, state.node_executions, state.task_executions):
            table.rows.clear()
        self._bucket.objects = dict(self._uploads)

    def restore_images(self) -> None:
        """The same for the registry."""
        shutil.rmtree(self._repositories)
        shutil.copytree(self.folder / "began", self._repositories)

    def calm(self) -> None:
        """Nothing fails any more."""
        self.double.faults.clear()
        self.proxy.rule = lambda seen: None

    def standing(self) -> Standing:
        rows = [(t.kind, key, row) for t in self._kept() for key, row in t.rows.items()]
        plans = self.double.state.launch_plans.rows
        registry = self.folder / "registry"
        return Standing(
            {(kind, *key): row.digest for kind, key, row in rows},
            {key: found.data for key, found in self._bucket.objects.items()},
            frozenset(f"{path} {link}" for path in self._paths for link in state(registry, path)),
            {key for key, row in plans.items() if row.message.closure.state == ACTIVE},
        )

    def check_kept(self) -> None:
        """What a push that failed, or did not, left is on the way to what it should leave."""
        self.standing().check_between(self.began, self.undisturbed)

    def check_ends_right(self) -> None:
        """What a push left is what an undisturbed one would have, and another sends nothing."""
        assert self.standing() == self.undisturbed
        again = self.push(self.new)
        assert (again.sent, again.sent_images, again.active) == ((), False, True)
        assert self.standing() == self.undisturbed

    def _pause(self, seconds: float) -> None:
        self.waited.append(seconds)
        time.sleep(0.01)  # gRPC connects meanwhile

    def _open(self, host: str) -> Registry:
        return Registry(host, lambda host: Credentials(USER, PASSWORD), self.waited.append)

    def _kept(self) -> tuple[Table, ...]:
        state = self.double.state
        return state.tasks, state.workflows, state.launch_plans

    @property
    def _bucket(self) -> LoopbackBucket:
        assert isinstance(self.double.bucket, LoopbackBucket)
        return self.double.bucket

    @property
    def _repositories(self) -> Path:
        return self.folder / "registry/data/docker/registry/v2/repositories"

    @property
    def _paths(self) -> Iterator[str]:
        for domain in self.domains.values():
            yield f"{domain['registry'].partition('/')[2]}/trainflow"


@contextmanager
def faulty(folder: Path) -> Iterator[Faulty]:
    """Run a Flyte and a registry with the old version, which nothing disturbs yet."""
    with ExitStack() as stack:
        registry = stack.enter_context(docker_registry(folder / "registry"))
        proxy = stack.enter_context(proxied(registry))
        double = stack.enter_context(
            flyteadmin(folder / "admin", projects=[PROJECT], token="not yet", executor=Script())
        )
        domains = {
            name: {**value, "registry": f"{proxy.host}/{name}", "metaflow": S3}
            for name, value in DOMAINS.items()
        }
        yield Faulty(folder, double, proxy, domains)
