"""What a bundle's record of a domain makes of its entities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfbuild.errors import BundleError, UsageError
from mfbuild.push.deployment import Deployment
from mfbuild.push.record import repository_of, site_of
from tests.push.pushing import NO_SETTINGS, make_bundle

TO = Deployment("flows", "staging", "alice")
S3 = {"datastore_sysroot_s3": "s3://bucket/metaflow"}


def domain(**changes: Any) -> dict[str, Any]:
    return {"staging": {**NO_SETTINGS, **changes}}


def test_a_site_has_the_images_of_the_registry_and_the_settings_of_the_domain(
    tmp_path: Path,
) -> None:
    settings = domain(
        registry="registry.example.com/ml",
        metaflow=S3,
        service_account="flows",
        image_pull_secrets=["pull"],
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


@pytest.mark.parametrize("spec", [3, None, [], {}, {"name": "TrainFlow"}])
def test_a_bundle_of_no_flow(tmp_path: Path, spec: object) -> None:
    forged = replace(make_bundle(tmp_path).manifest, spec=spec)
    with pytest.raises(BundleError, match=r"`bundle\.json` does not hold a flow: "):
        site_of(forged, TO, embedded=True)


@pytest.mark.parametrize(
    "domains",
    [
        *(3, None, [], {"staging": None}, {"staging": {}}),
        domain(registry=1),
        domain(service_account=[]),
        domain(image_pull_secrets=[1]),
        domain(metaflow={"datastore_sysroot_s3": 1}),
        domain(metaflow=3),
    ],
)
def test_a_bundle_of_no_domains(tmp_path: Path, domains: object) -> None:
    forged = replace(make_bundle(tmp_path).manifest, domains=domains)
    with pytest.raises(BundleError, match=r"`bundle\.json` does not hold domains: "):
        site_of(forged, TO, embedded=True)


def test_a_bundle_of_another_flow(tmp_path: Path) -> None:
    manifest = make_bundle(tmp_path).manifest
    fewer = dict(list(manifest.steps.items())[1:])
    lost = {**manifest.spec, "start": "nowhere"}
    for change in ({"flow": "OtherFlow"}, {"steps": fewer}, {"spec": lost}):
        forged = replace(manifest, **change)
        with pytest.raises(BundleError, match="holds another flow than its own"):
            site_of(forged, TO, embedded=True)
