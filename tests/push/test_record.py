"""What a bundle's record of a domain makes of its entities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfbuild.bundle.model import DomainRecord
from mfbuild.errors import UsageError
from mfbuild.push.deployment import Deployment
from mfbuild.push.record import repository_of, site_of
from tests.push.pushing import NO_SETTINGS, make_bundle, train_flow

TO = Deployment("flows", "staging", "alice")
S3 = {"datastore_sysroot_s3": "s3://bucket/metaflow"}


def domain(**changes: Any) -> dict[str, DomainRecord]:
    return {"staging": replace(NO_SETTINGS, **changes)}


def test_a_site_has_the_images_of_the_registry_and_the_settings_of_the_domain(
    tmp_path: Path,
) -> None:
    settings = domain(
        registry="registry.example.com/ml",
        metaflow=S3,
        service_account="flows",
        image_pull_secrets=("pull",),
    )
    manifest = make_bundle(tmp_path, domains=settings).manifest
    site = site_of(manifest, TO, embedded=False)
    digest = manifest.steps["fit"].image.digest
    assert site.images["fit"] == f"registry.example.com/ml/trainflow@{digest}"
    assert site.environment == {
        "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/metaflow",
        "METAFLOW_DEFAULT_DATASTORE": "s3",
    }
    assert (site.service_account, site.image_pull_secrets) == ("flows", ("pull",))


def test_what_pods_need_is_asked_for_all_at_once(tmp_path: Path) -> None:
    manifest = make_bundle(tmp_path).manifest
    with pytest.raises(UsageError) as caught:
        site_of(manifest, TO, embedded=False)
    assert [p.message for p in caught.value.problems] == [
        "the domain `staging` has no registry for its images",
        "Metaflow's datastore is `local`, which pods do not share",
    ]
    assert (
        site_of(manifest, TO, embedded=True).images["fit"].startswith("mfbuild/trainflow@sha256:")
    )


def test_a_domain_that_the_bundle_does_not_know(tmp_path: Path) -> None:
    manifest = make_bundle(tmp_path).manifest
    with pytest.raises(UsageError, match="the bundle knows no domain `stagin`") as caught:
        site_of(manifest, replace(TO, domain="stagin"), embedded=True)
    assert caught.value.problems[0].hint == (
        "did you mean `staging`? (domains come from BUILD.toml)"
    )


@pytest.mark.parametrize("registry", ["no host", "example.com/UPPER", "plain/path"])
def test_a_registry_that_is_none(tmp_path: Path, registry: str) -> None:
    manifest = make_bundle(tmp_path, domains=domain(registry=registry)).manifest
    with pytest.raises(UsageError, match="the registry of the domain `staging`"):
        repository_of(manifest, "staging")


@pytest.mark.parametrize(("flow", "path"), [("_Private", "1u-private"), ("My_Flow_", "my_flow-1u")])
def test_a_flow_whose_name_is_no_repository(tmp_path: Path, flow: str, path: str) -> None:
    spec = replace(train_flow(), name=flow)
    manifest = make_bundle(tmp_path, spec=spec, domains=domain(registry="example.com/ml")).manifest
    assert repository_of(manifest, "staging") == f"example.com/ml/{path}"
