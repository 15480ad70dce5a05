"""`mfbuild push` to a Flyte and to a registry that have certificates of private authorities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.e2e.conftest import Done, Runner
from tests.flyteadmin.double import Double, flyteadmin
from tests.push.pushing import DOMAINS, PROJECT, S3, make_bundle
from tests.registry import certificate, docker_registry

pytestmark = pytest.mark.tools


@dataclass(frozen=True)
class Servers:
    """A Flyte with its bucket and a registry, each of an authority of its own, and a bundle."""

    folder: Path
    double: Double
    registry: str
    registry_authority: Path
    bundle: Path
    mfbuild: Runner

    @property
    def flyte_authority(self) -> Path:
        assert self.double.tls is not None
        return self.double.tls.authority

    def push(self, config: str, **env: str) -> Done:
        """Push with a configuration of flytectl."""
        (self.folder / "config.yaml").write_text(config)
        names = {"FLYTECTL_CONFIG": str(self.folder / "config.yaml"), "METAFLOW_USER": "alice"}
        words = ("push", self.bundle, "-d", "staging", "-p", PROJECT, "-q")
        return self.mfbuild(*words, cwd=self.folder, **names, **env)

    def config(self, authority: Path | str | None) -> str:
        lines = [f"admin:\n  endpoint: dns:///{self.double.endpoint}\n"]
        lines += [f"  caCertFilePath: {authority}\n"] if authority else []
        return "".join(lines)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("tls")
    made = certificate(folder / "certificate", "127.0.0.2")
    with ExitStack() as stack:
        registry = stack.enter_context(docker_registry(folder / "registry", tls=made))
        double = stack.enter_context(flyteadmin(folder / "admin", projects=[PROJECT], secure=True))
        record = replace(DOMAINS["staging"], registry=f"{registry}/flows", metaflow=S3)
        bundle = make_bundle(folder / "bundle", domains={**DOMAINS, "staging": record})
        runner = Runner(folder / "store")
        path = bundle.layout.path
        yield Servers(folder, double, registry, made.authority, path, runner)


def error(done: Done) -> str:
    """The error of a push that failed, without its hint."""
    assert (done.code, done.out) == (1, ""), done.err
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ")
    assert [line for line in rest if not line.startswith("  hint: ")] == []
    return first.removeprefix("error: ")


def test_each_authority_where_it_belongs(servers: Servers) -> None:
    """In the order of a push: a Flyte of an unknown authority, a registry of one, then all well."""
    double, registry = servers.double, servers.registry
    unknown = "certificate verify failed: unable to get local issuer certificate"
    for authority in (None, servers.registry_authority):
        done = servers.push(
            servers.config(authority), REQUESTS_CA_BUNDLE=str(servers.registry_authority)
        )
        assert error(done) == f"`{double.endpoint}` cannot be reached: {unknown}"
        assert "admin.caCertFilePath" in done.err
    config = servers.config(servers.flyte_authority)
    for env in ({}, {"REQUESTS_CA_BUNDLE": str(servers.flyte_authority)}):
        done = servers.push(config, **env)
        assert error(done) == f"the TLS certificate of `{registry}` is not accepted"
        assert "REQUESTS_CA_BUNDLE" in done.err
    assert double.calls["CreateUploadLocation"] == 0
    known = {"REQUESTS_CA_BUNDLE": str(servers.registry_authority)}
    done = servers.push(config, **known)
    assert done.code == 0, done.err
    name, *images = done.out.splitlines()
    assert name.startswith("TrainFlow@")
    assert images and all(i.startswith(f"{registry}/flows/trainflow@sha256:") for i in images)
    assert (double.calls["PUT"], double.calls["CreateLaunchPlan"]) == (1, 1)
    assert servers.push(config, **known).out == done.out
    assert double.calls["PUT"] == 1


def test_authorities_that_cannot_be_read(servers: Servers) -> None:
    """Of the registry, by a variable, and of Flyte, by its configuration."""
    gone, empty = servers.folder / "gone.pem", servers.folder / "empty.pem"
    empty.write_text("no certificate")
    config = servers.config(servers.flyte_authority)
    done = servers.push(config, REQUESTS_CA_BUNDLE=str(gone))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: `REQUESTS_CA_BUNDLE` names `{gone}`, which is not there\n"
    done = servers.push(config, REQUESTS_CA_BUNDLE=str(empty))
    assert error(done) == f"the TLS certificate of `{servers.registry}` is not accepted"
    done = servers.push(servers.config(gone))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: the certificates `{gone}` cannot be read: no such file")
    done = servers.push(servers.config(empty))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: the file of certificates `{empty}` has none\n  at ")
