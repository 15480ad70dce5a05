"""What a bundle's record of a domain makes of it at a target: images, settings, names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mfbuild.bundle.model import BundleManifest, DomainRecord
from mfbuild.errors import Problem, UsageError, did_you_mean
from mfbuild.flow.spec import Resources
from mfbuild.flyte.quantities import overridden, requests
from mfbuild.flyte.resolve import Site
from mfbuild.oci.reference import Reference, repository_name
from mfbuild.push.deployment import Deployment
from mfbuild.push.target import PushTarget

EMBEDDED = "mfbuild"
"""What stands for a registry in the images' names of the embedded backend."""

_SHARED = ("azure", "gs", "s3")


def site_of(manifest: BundleManifest, target: PushTarget, deployment: Deployment) -> Site:
    """What `target` makes of the bundle; UsageError names all that is missing for it.

    Pods of a real Flyte share no disk: their images come from a registry, and their datastore
    must be one that all of them reach.
    """
    record = _record(manifest, target.domain)
    repository = _repository(record, manifest, target.domain)
    settings = metaflow_settings(record.metaflow)
    if target.embedded:
        repository = f"{EMBEDDED}/{repository_name(manifest.flow)}"
    else:
        problems = [*_unregistered(repository, target.domain), *_unshared(settings)]
        UsageError.raise_for(problems)
    return Site(
        project=target.project,
        domain=target.domain,
        images={name: f"{repository}@{step.image.digest}" for name, step in manifest.steps.items()},
        environment=settings,
        service_account=record.service_account,
        image_pull_secrets=record.image_pull_secrets,
        resources=requests(overridden(Resources(), record.resources)),
        prefix=deployment.prefix(manifest.spec),
        person=deployment.person(),
        repository=repository,
    )


def sites_of(
    wanted: Iterable[tuple[BundleManifest, PushTarget]], deployment: Deployment
) -> list[Site]:
    """The site of each bundle; UsageError names all that is missing for any of them."""
    found: list[Site] = []
    problems: list[Problem] = []
    for manifest, target in wanted:
        try:
            found.append(site_of(manifest, target, deployment))
        except UsageError as error:
            problems += error.problems
    UsageError.raise_for(dict.fromkeys(problems))
    return found


def metaflow_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """The METAFLOW_* settings; the datastore is the one whose root is set, where none is named."""
    found = {f"METAFLOW_{name.upper()}": value for name, value in settings.items()}
    rooted = [kind for kind in _SHARED if f"datastore_sysroot_{kind}" in settings]
    if len(rooted) == 1:
        found.setdefault("METAFLOW_DEFAULT_DATASTORE", rooted[0])
    return found


def _record(manifest: BundleManifest, domain: str) -> DomainRecord:
    known = manifest.domains
    if domain not in known:
        raise UsageError(
            f"the bundle knows no domain `{domain}`",
            hint=f"{did_you_mean(domain, sorted(known))} (domains come from BUILD.toml)",
        )
    return known[domain]


def _repository(record: DomainRecord, manifest: BundleManifest, domain: str) -> str:
    """`<registry>/<flow, as repository_name spells it>`; "" where the domain has no registry.

    UsageError if that is no repository.
    """
    if not record.registry:
        return ""
    try:
        found = Reference.parse(f"{record.registry}/{repository_name(manifest.flow)}")
    except ValueError as error:
        hint = "write it without `https://`" if "://" in record.registry else None
        raise UsageError(f"the registry of the domain `{domain}`: {error}", hint=hint) from None
    return found.repository


def _unregistered(repository: str, domain: str) -> list[Problem]:
    if repository:
        return []
    hint = f"set `registry` in [domain.{domain}] or [workspace] of BUILD.toml"
    return [Problem(f"the domain `{domain}` has no registry for its images", hint=hint)]


def _unshared(settings: Mapping[str, str]) -> list[Problem]:
    if settings.get("METAFLOW_DEFAULT_DATASTORE", "local") != "local":
        return []
    return [
        Problem(
            "Metaflow's datastore is `local`, which pods do not share",
            hint="set `datastore_sysroot_s3` (or _azure, _gs) in [domain.….metaflow] of BUILD.toml",
        )
    ]
