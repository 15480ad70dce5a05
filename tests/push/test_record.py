"""What a bundle's record of a domain makes of it at a target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from mfbuild.bundle.model import BundleManifest, DomainRecord
from mfbuild.engine.store import Store
from mfbuild.errors import UsageError
from mfbuild.flyte.resolve import Site
from mfbuild.push.deployment import Deployment
from mfbuild.push.record import site_of, sites_of
from mfbuild.push.target import PushTarget, target_of
from mfbuild.report import PlainReporter
from tests.push.conftest import configured
from tests.push.pushing import NO_SETTINGS, make_bundle, train_flow

ALICE = Deployment("alice")
S3 = {"datastore_sysroot_s3": "s3://bucket/metaflow"}

Targets = Callable[[str], PushTarget]


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Targets]:
    """The domain `staging` of an endpoint; nothing is sent to it."""
    with Store.open(tmp_path / "store") as store:

        def at(endpoint: str) -> PushTarget:
            config = configured(tmp_path, endpoint, None)
            return target_of("staging", config, store, PlainReporter(StringIO()))

        yield at


@pytest.fixture
def flyte(targets: Targets) -> PushTarget:
    return targets("http://127.0.0.1:1")


@pytest.fixture
def embedded(targets: Targets) -> PushTarget:
    return targets("local")


def manifest(folder: Path, **changes: Any) -> BundleManifest:
    return make_bundle(folder, domains={"staging": replace(NO_SETTINGS, **changes)}).manifest


def test_a_site_has_the_images_of_the_registry_and_the_settings_of_the_domain(
    tmp_path: Path, flyte: PushTarget
) -> None:
    found = manifest(
        tmp_path,
        registry="registry.example.com/ml",
        metaflow=S3,
        service_account="flows",
        image_pull_secrets=("pull",),
        resources={"cpu": 0.5, "disk": 0, "memory": 4096},
    )
    repository = "registry.example.com/ml/trainflow"
    assert site_of(found, flyte, ALICE) == Site(
        project="flows",
        domain="staging",
        images={name: f"{repository}@{step.image.digest}" for name, step in found.steps.items()},
        environment={
            "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/metaflow",
            "METAFLOW_DEFAULT_DATASTORE": "s3",
        },
        service_account="flows",
        image_pull_secrets=("pull",),
        resources={"cpu": "500m", "memory": "4096Mi"},
        prefix="",
        person='{"user":"alice"}',
        repository=repository,
    )


def test_what_pods_need_is_asked_for_all_at_once(
    tmp_path: Path, flyte: PushTarget, embedded: PushTarget
) -> None:
    found = manifest(tmp_path)
    with pytest.raises(UsageError) as caught:
        site_of(found, flyte, ALICE)
    assert [p.message for p in caught.value.problems] == [
        "the domain `staging` has no registry for its images",
        "Metaflow's datastore is `local`, which pods do not share",
    ]
    site = site_of(found, embedded, ALICE)
    assert site.images["fit"].startswith("mfbuild/trainflow@sha256:")


def test_what_any_of_several_bundles_lacks_is_told_at_once(
    tmp_path: Path, flyte: PushTarget, embedded: PushTarget
) -> None:
    bad, good = manifest(tmp_path / "bad", registry="no host"), manifest(tmp_path / "good")
    with pytest.raises(UsageError) as caught:
        sites_of([(good, embedded), (bad, flyte), (good, flyte), (good, flyte)], ALICE)
    assert [p.message.partition(": ")[0] for p in caught.value.problems] == [
        "the registry of the domain `staging`",
        "the domain `staging` has no registry for its images",
        "Metaflow's datastore is `local`, which pods do not share",
    ]
    assert sites_of([(good, embedded)], ALICE) == [site_of(good, embedded, ALICE)]


def test_a_domain_that_the_bundle_does_not_know(tmp_path: Path, embedded: PushTarget) -> None:
    found = make_bundle(tmp_path, domains={"stagin": DomainRecord(None, None, (), {})}).manifest
    with pytest.raises(UsageError, match="the bundle knows no domain `staging`") as caught:
        site_of(found, embedded, ALICE)
    assert caught.value.problems[0].hint == (
        "did you mean `stagin`? (domains come from BUILD.toml)"
    )


@pytest.mark.parametrize("registry", ["no host", "example.com/UPPER", "plain/path"])
def test_a_registry_that_is_none(tmp_path: Path, flyte: PushTarget, registry: str) -> None:
    with pytest.raises(UsageError, match="the registry of the domain `staging`"):
        site_of(manifest(tmp_path, registry=registry), flyte, ALICE)


@pytest.mark.parametrize(("flow", "path"), [("_Private", "1u-private"), ("My_Flow_", "my_flow-1u")])
def test_a_flow_whose_name_is_no_repository(
    tmp_path: Path, flyte: PushTarget, flow: str, path: str
) -> None:
    record = replace(NO_SETTINGS, registry="example.com/ml", metaflow=S3)
    spec = replace(train_flow(), name=flow)
    found = make_bundle(tmp_path, spec=spec, domains={"staging": record}).manifest
    assert site_of(found, flyte, ALICE).repository == f"example.com/ml/{path}"
