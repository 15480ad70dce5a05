"""What a bundle's record of a domain makes of its entities: images, settings, accounts."""

from __future__ import annotations

from collections.abc import Mapping

from mfbuild.bundle.model import BundleManifest, DomainRecord
from mfbuild.errors import Problem, UsageError, did_you_mean
from mfbuild.flyte.resolve import Site
from mfbuild.oci.reference import Reference, repository_name
from mfbuild.push.deployment import Deployment

EMBEDDED = "mfbuild"
"""What stands for a registry in the images' names of the embedded backend."""

_SHARED = ("azure", "gs", "s3")


def site_of(manifest: BundleManifest, deployment: Deployment, *, embedded: bool) -> Site:
    """Where the bundle's entities are to live; UsageError names all that is missing for it.

    Pods of a real Flyte share no disk: their images come from a registry, and their datastore
    must be one that all of them reach.
    """
    record = _record(manifest, deployment.domain)
    repository = repository_of(manifest, deployment.domain) or ""
    settings = metaflow_settings(record.metaflow)
    problems = [] if embedded else [*_unregistered(repository, deployment), *_unshared(settings)]
    UsageError.raise_for(problems)
    if embedded:
        repository = f"{EMBEDDED}/{repository_name(manifest.flow)}"
    return Site(
        project=deployment.project,
        domain=deployment.domain,
        images={name: f"{repository}@{step.image.digest}" for name, step in manifest.steps.items()},
        environment=settings,
        service_account=record.service_account,
        image_pull_secrets=record.image_pull_secrets,
        prefix=deployment.prefix(manifest.spec),
    )


def repository_of(manifest: BundleManifest, domain: str) -> str | None:
    """`<registry>/<flow, as repository_name spells it>`; None where the domain has no registry.

    UsageError if that is no repository.
    """
    registry = _record(manifest, domain).registry
    if not registry:
        return None
    try:
        found = Reference.parse(f"{registry}/{repository_name(manifest.flow)}")
    except ValueError as error:
        hint = "write it without `https://`" if "://" in registry else None
        raise UsageError(f"the registry of the domain `{domain}`: {error}", hint=hint) from None
    return found.repository


def _record(manifest: BundleManifest, domain: str) -> DomainRecord:
    known = manifest.domains
    if domain not in known:
        raise UsageError(
            f"the bundle knows no domain `{domain}`",
            hint=f"{did_you_mean(domain, sorted(known))} (domains come from BUILD.toml)",
        )
    return known[domain]


def metaflow_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """The METAFLOW_* settings; the datastore is the one whose root is set, where none is named."""
    found = {f"METAFLOW_{name.upper()}": value for name, value in settings.items()}
    rooted = [kind for kind in _SHARED if f"datastore_sysroot_{kind}" in settings]
    if len(rooted) == 1:
        found.setdefault("METAFLOW_DEFAULT_DATASTORE", rooted[0])
    return found


def _unregistered(repository: str, deployment: Deployment) -> list[Problem]:
    if repository:
        return []
    hint = f"set `registry` in [domain.{deployment.domain}] or [workspace] of BUILD.toml"
    return [Problem(f"the domain `{deployment.domain}` has no registry for its images", hint=hint)]


def _unshared(settings: Mapping[str, str]) -> list[Problem]:
    if settings.get("METAFLOW_DEFAULT_DATASTORE", "local") != "local":
        return []
    return [
        Problem(
            "Metaflow's datastore is `local`, which pods do not share",
            hint="set `datastore_sysroot_s3` (or _azure, _gs) in [domain.….metaflow] of BUILD.toml",
        )
    ]
