"""Where a domain's flows go: its Flyte, or the embedded backend where none is configured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.config import Config, Domain
from mfbuild.errors import UsageError, did_you_mean
from mfbuild.flyte.backend import Backend
from mfbuild.push.bundles import Bundles, Embedded, InRegistry
from mfbuild.report import PlainReporter

if TYPE_CHECKING:
    from mfbuild.engine.store import Store

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class PushTarget:
    """A backend, and where the bundles of its domain are kept; `shown` is for people."""

    backend: Backend
    bundles: Bundles
    embedded: bool
    shown: str

    def __str__(self) -> str:
        return self.shown


def target_of(
    domain: str,
    config: Config,
    store: Store,
    reporter: PlainReporter,
    project: str | None = None,
) -> PushTarget:
    """The place of a domain of BUILD.toml; UsageError for one that it does not name.

    The endpoint `local`, or none anywhere, is the embedded backend, which has any `project`.
    """
    from mfbuild.flyte.settings import find_settings

    chosen = domain_of(domain, config)
    endpoint = chosen.endpoint or config.flyte_endpoint
    if settings := find_settings(endpoint, config.environ, Path.cwd()):
        from mfbuild.flyte.admin.backend import connect
        from mfbuild.oci.access import Registry

        open_registry = partial(Registry, environ=config.environ)
        registry = chosen.registry or config.registry
        bundles = InRegistry(registry, config.jobs, reporter, open_registry)
        backend = connect(settings, config.environ)
        return PushTarget(backend, bundles, embedded=False, shown=backend.name)
    from mfbuild.local.embedded.backend import EmbeddedBackend
    from mfbuild.local.embedded.files import FLYTE

    projects = {project or config.flyte_project or LOCAL: tuple(config.domains)}
    files = EmbeddedBackend(config.root, store, projects, None, config.environ, reporter.warn)
    folder = files.root / FLYTE
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    shown = f"the embedded backend ({here})"
    return PushTarget(files, Embedded(files, config.jobs, reporter), embedded=True, shown=shown)


def domain_of(name: str, config: Config) -> Domain:
    """The policy of a domain; UsageError, with those that there are."""
    if name not in config.domains:
        known = sorted(config.domains)
        raise UsageError(f"there is no domain `{name}`", hint=did_you_mean(name, known))
    return config.domains[name]


def project_of(given: str | None, config: Config, target: PushTarget) -> str:
    """The project: the flag's, BUILD.toml's, `local` on the embedded backend; else UsageError."""
    project = given or config.flyte_project or (LOCAL if target.embedded else None)
    if project:
        return project
    known = ", ".join(f"`{name}`" for name in sorted(target.backend.registrations.projects()))
    raise UsageError(
        "nothing says which Flyte project to use",
        hint=f"give --project, or `project` in [flyte] of BUILD.toml; there are {known}",
    )
