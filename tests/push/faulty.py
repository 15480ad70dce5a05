"""A Flyte and a registry that fail as they are told, and what a push leaves at both."""

from __future__ import annotations

import copy
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path

import pytest
from flyteidl.admin.launch_plan_pb2 import ACTIVE
from grpc import StatusCode

from mfbuild.bundle.model import DomainRecord
from mfbuild.bundle.read import Bundle
from mfbuild.errors import MfbuildError
from mfbuild.flyte.admin.backend import AdminBackend
from mfbuild.flyte.admin.client import Client
from mfbuild.flyte.settings import COMMAND, Settings
from mfbuild.oci.access import Registry
from mfbuild.oci.auth import Credentials
from mfbuild.push.bundles import InRegistry
from mfbuild.push.deployment import Deployment
from mfbuild.push.names import FlowWord
from mfbuild.push.push import Pushed
from mfbuild.push.registered import registered_bundle
from mfbuild.push.target import PushTarget
from mfbuild.report import PlainReporter
from tests.flyteadmin.bucket import LoopbackBucket, Object
from tests.flyteadmin.double import Double, flyteadmin
from tests.flyteadmin.faults import Fault, answer, cut
from tests.flyteadmin.script import Script
from tests.flyteadmin.state import Row, Table
from tests.proxy import Fault as Broken
from tests.proxy import Proxy, proxied
from tests.push.pushing import DOMAINS, PROJECT, S3, make_bundle, push_to
from tests.pushes import state
from tests.registry import PASSWORD, USER, Answer, docker_registry


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


@dataclass(frozen=True)
class _Saved:
    """What there was, to be brought back; `images` is a copy of the registry's files."""

    standing: Standing
    tables: tuple[dict[tuple[str, ...], Row], ...]
    uploads: dict[str, Object]
    images: Path


@dataclass
class Faulty:
    """A double of flyteadmin that wants a token, and a docker-registry behind a proxy.

    `old` and `new` are versions of one flow; the old one is active in staging and production.
    `tokens` is the file with the token that is accepted; `waited` what clients would have waited.
    """

    folder: Path
    double: Double
    proxy: Proxy
    domains: Mapping[str, DomainRecord]
    waited: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = self.folder / "token"
        self.renew()
        self.old, self.new = self._bundle("old"), self._bundle("new", {"fit": "pandas==2"})
        self.push(self.old)
        self.push(self.old, "production")

    def begin(self, do: Callable[[], Pushed]) -> None:
        """Let all begin as it is now; `do` is what is disturbed then, and is to end as now."""
        self.do = do
        self._began = self._saved()
        do()
        self.undisturbed = self.standing()
        self.restore()

    @property
    def began(self) -> Standing:
        return self._began.standing

    def renew(self) -> None:
        """Let the token expire, of which there is a new one."""
        written = self.tokens.with_suffix(".new")
        written.write_text(self.double.authority.expire())
        written.rename(self.tokens)

    def at(self, domain: str = "staging", *, seconds: float = 10.0) -> PushTarget:
        """The target as `target_of` makes it, whose clients hardly wait before they try again."""
        command = ("cat", str(self.tokens))
        settings = Settings(self.double.endpoint, "a test", True, login=COMMAND, command=command)
        client = Client(settings, {}, self._pause, seconds)
        backend = AdminBackend("flyte", client)
        registry, reporter = self.domains[domain].registry, PlainReporter(StringIO())
        bundles = InRegistry(registry, 2, reporter, self._open)
        return PushTarget(
            project=PROJECT,
            domain=domain,
            backend=backend,
            bundles=bundles,
            embedded=False,
            shown=backend.name,
        )

    def push(self, bundle: Bundle, domain: str = "staging", *, seconds: float = 10.0) -> Pushed:
        """Push and activate."""
        target = self.at(domain, seconds=seconds)
        return push_to(target, bundle, Deployment("alice"), activate=True)

    def promote(self) -> Pushed:
        """Promote the version that is active in staging, and activate it."""
        bundle = registered_bundle(self.at(), FlowWord("TrainFlow"))
        return push_to(self.at("production"), bundle, Deployment("robot"), activate=True)

    def restore(self) -> None:
        """Bring all back to where it began; nothing fails."""
        self.calm()
        self.double.calls.clear()
        self.proxy.seen.clear()
        self.waited.clear()
        for table, rows in zip(self._tables, self._began.tables, strict=True):
            table.rows = copy.deepcopy(rows)
        state = self.double.state
        state.executor.close()  # what still runs would tell of an execution that is gone
        for table in (state.executions, state.node_executions, state.task_executions):
            table.rows.clear()
        self._bucket.objects = dict(self._began.uploads)
        if self._images() != self.began.images:
            shutil.rmtree(self._repositories)
            shutil.copytree(self._began.images, self._repositories)

    def calm(self) -> None:
        """Nothing fails any more."""
        self.double.faults.clear()
        self.proxy.rule = lambda seen: None

    def standing(self) -> Standing:
        """What there is now."""
        plans = self.double.state.launch_plans.rows
        return Standing(
            {(t.kind, *key): row.digest for t in self._tables for key, row in t.rows.items()},
            {key: found.data for key, found in self._bucket.objects.items()},
            self._images(),
            {key for key, row in plans.items() if row.message.closure.state == ACTIVE},
        )

    def check_kept(self) -> None:
        """What was disturbed, and may have failed, is on the way to what it should leave."""
        self.standing().check_between(self.began, self.undisturbed)

    def check_ends_right(self) -> None:
        """All is as it would be undisturbed, and to do it again sends nothing."""
        assert self.standing() == self.undisturbed
        again = self.do()
        assert (again.sent, again.sent_images, again.active) == ((), False, True)
        assert self.standing() == self.undisturbed

    def check_again(self) -> None:
        """Done again with nothing disturbed, it ends right."""
        self.calm()
        self.do()
        self.check_ends_right()

    def failure(self, kind: type[MfbuildError]) -> str:
        """What is said when it fails, of one problem and with no secret, `FLYTE` for the endpoint.

        Done again, it ends right.
        """
        told = problem_of(kind, self.do, self.tokens.read_text())
        self.check_kept()
        self.check_again()
        return told.replace(f"`{self.double.endpoint}`", "FLYTE")

    def _bundle(self, code: str, packages: dict[str, str] | None = None) -> Bundle:
        files = {"train.py": code.encode()}
        folder = self.folder / code
        return make_bundle(folder, code=files, packages=packages, domains=self.domains)

    def _saved(self) -> _Saved:
        copied = Path(tempfile.mkdtemp(dir=self.folder)) / "images"
        shutil.copytree(self._repositories, copied)
        tables = tuple(copy.deepcopy(table.rows) for table in self._tables)
        return _Saved(self.standing(), tables, dict(self._bucket.objects), copied)

    def _pause(self, seconds: float) -> None:
        self.waited.append(seconds)
        time.sleep(0.01)  # gRPC connects meanwhile

    def _open(self, host: str) -> Registry:
        return Registry(host, {}, lambda host: Credentials(USER, PASSWORD), self.waited.append)

    @property
    def _tables(self) -> tuple[Table, ...]:
        state = self.double.state
        return state.tasks, state.workflows, state.launch_plans

    @property
    def _bucket(self) -> LoopbackBucket:
        assert isinstance(self.double.bucket, LoopbackBucket)
        return self.double.bucket

    @property
    def _repositories(self) -> Path:
        return self.folder / "registry/data/docker/registry/v2/repositories"

    def _images(self) -> frozenset[str]:
        paths = [f"{domain}/trainflow" for domain in self.domains]
        registry = self.folder / "registry"
        return frozenset(f"{path} {link}" for path in paths for link in state(registry, path))


def problem_of(kind: type[MfbuildError], do: Callable[[], object], token: str) -> str:
    """The only problem of the error that `do` raises; it shows no secret."""
    with pytest.raises(kind) as caught:
        do()
    [problem] = caught.value.problems
    shown = "".join(traceback.format_exception(caught.value)) + (problem.hint or "")
    secrets = (token, PASSWORD, Credentials(USER, PASSWORD).basic(), "signature=")
    assert [secret for secret in secrets if secret in shown] == []
    return problem.message


@contextmanager
def faulty(folder: Path, *, login: bool = False, auth: str = "") -> Iterator[Faulty]:
    """Run a Flyte and a registry with the old version, which nothing disturbs yet.

    `login` and `auth` are docker_registry's.
    """
    with ExitStack() as stack:
        found = docker_registry(folder / "registry", login=login, auth=auth)
        registry = stack.enter_context(found)
        proxy = stack.enter_context(proxied(registry))
        double = stack.enter_context(
            flyteadmin(folder / "admin", projects=[PROJECT], token="not yet", executor=Script())
        )
        domains = {
            name: replace(value, registry=f"{proxy.host}/{name}", metaflow=S3)
            for name, value in DOMAINS.items()
        }
        yield Faulty(folder, double, proxy, domains)


def grpc_faults() -> dict[str, Fault]:
    """What may pass: the connection breaks, or an error that says so, before and after."""
    codes = (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED)
    found = {"cut before": cut(), "cut after": cut(after=True)}
    for code in codes:
        found[f"{code.name} before"] = answer(code)
        found[f"{code.name} after"] = answer(code, after=True)
    return found


BROKE = "could not be reached, or broke the connection, 5 times"
BROKEN = {
    "cut before": (Broken(cut="before"), BROKE),
    "cut after": (Broken(cut="after"), BROKE),
    "503": (Broken(answer=Answer(503)), "answered `503`, 5 times"),
}
"""What may befall any request to the registry, and what is said if it lasts."""
PUSHING = (
    "HEAD tag",
    "HEAD manifest",
    "HEAD blob",
    "POST upload",
    "PUT upload",
    "PUT manifest",
    "PUT tag",
)
"""The requests of a push to the registry."""
