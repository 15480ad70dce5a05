"""Where a domain's flows go: its Flyte, or the embedded backend where none is configured."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mfbuild.config import DEFAULT_DOMAINS, Config, Domain
from mfbuild.errors import UsageError, did_you_mean
from mfbuild.flow.spec import Destination
from mfbuild.flyte.backend import Backend
from mfbuild.push.bundles import Bundles, Embedded, InRegistry
from mfbuild.report import PlainReporter

if TYPE_CHECKING:
    from mfbuild.engine.store import Store

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class PushTarget:
    """Where flows go: a project and a domain of a backend, and the bundles of that domain.

    `shown` is what people call the backend.
    """

    project: str
    domain: str
    backend: Backend
    bundles: Bundles
    embedded: bool
    shown: str

    def __str__(self) -> str:
        return f"{self.project}/{self.domain} of {self.shown}"


def target_of(
    domain: str,
    config: Config,
    store: Store,
    reporter: PlainReporter,
    project: str | None = None,
) -> PushTarget:
    """The target of a domain of BUILD.toml; UsageError for one that it does not name.

    The project is the one that is given, or BUILD.toml's; UsageError where that says nothing. The
    endpoint `local`, or none anywhere, is the embedded backend, which has any project.
    """
    from mfbuild.flyte.settings import find_settings

    chosen = domain_of(domain, config)
    endpoint, said = chosen.endpoint or config.flyte_endpoint, project or config.flyte_project
    if settings := find_settings(endpoint, config.environ, Path.cwd()):
        from mfbuild.flyte.admin.backend import connect
        from mfbuild.oci.access import Registry

        open_registry = partial(Registry, environ=config.environ)
        registry = chosen.registry or config.registry
        bundles = InRegistry(registry, config.jobs, reporter, open_registry)
        backend = connect(settings, config.environ)
        return PushTarget(
            project=said or _no_project(backend),
            domain=domain,
            backend=backend,
            bundles=bundles,
            embedded=False,
            shown=backend.name,
        )
    from mfbuild.local.embedded.backend import EmbeddedBackend
    from mfbuild.local.embedded.files import FLYTE

    said = said or LOCAL
    projects = {said: tuple(config.domains)}
    files = EmbeddedBackend(config.root, store, projects, None, config.environ, reporter.warn)
    folder = files.root / FLYTE
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    return PushTarget(
        project=said,
        domain=domain,
        backend=files,
        bundles=Embedded(files, config.jobs, reporter),
        embedded=True,
        shown=f"the embedded backend ({here})",
    )


def domain_of(name: str, config: Config) -> Domain:
    """The policy of a domain; UsageError, with those that there are."""
    if name not in config.domains:
        known = sorted(config.domains)
        raise UsageError(f"there is no domain `{name}`", hint=did_you_mean(name, known))
    return config.domains[name]


def choose_domain(
    given: str | None, flyte: Destination | None, branch: str | None, config: Config
) -> str:
    """The domain: the flag's, @flyte's, MFBUILD_DOMAIN, the one of BUILD.toml that has `branch`.

    `branch` is @project's as Metaflow calls it (`user.ada`, `test.exp`, `prod`). Without any of
    these it is `development`, or the only domain that there is; UsageError where that says nothing.
    """
    said = given or (flyte.domain if flyte else None) or config.flyte_domain
    if found := said or _of_branch(branch, config):
        return found
    if DEFAULT_DOMAINS[0] in config.domains:
        return DEFAULT_DOMAINS[0]
    if len(config.domains) == 1:
        return next(iter(config.domains))
    known = ", ".join(f"`{name}`" for name in config.domains)
    raise UsageError("nothing says which domain", hint=f"give --domain; there are {known}")


def _of_branch(branch: str | None, config: Config) -> str | None:
    """The first domain whose `branches` match."""
    for name, domain in config.domains.items():
        if branch and any(fnmatchcase(branch, pattern) for pattern in domain.branches):
            return name
    return None


def _no_project(backend: Backend) -> NoReturn:
    known = ", ".join(f"`{name}`" for name in sorted(backend.registrations.projects()))
    raise UsageError(
        "nothing says which Flyte project to use",
        hint=f"give --project, or `project` in [flyte] of BUILD.toml; there are {known}",
    )
