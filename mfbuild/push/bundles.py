"""Where the bundles of a domain are kept: its registry, or the embedded backend's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mfbuild.bundle.model import BundleManifest
from mfbuild.bundle.read import Bundle
from mfbuild.errors import BundleError, UsageError
from mfbuild.oci.reference import repository_name
from mfbuild.report import PlainReporter

if TYPE_CHECKING:
    from mfbuild.bundle.remote import RemoteBundle
    from mfbuild.local.embedded.backend import EmbeddedBackend
    from mfbuild.oci.access import Registry
    from mfbuild.oci.registry import Repository

    Source = Bundle | RemoteBundle


class Bundles(Protocol):
    """The bundles that were pushed to one domain."""

    def put(self, bundle: Source, repository: str) -> bool:
        """Keep a whole bundle, its images as `repository`; False, after one call, if it is there.

        PushError, and what reading the bundle raises.
        """

    def has(self, manifest: BundleManifest, repository: str) -> bool:
        """Whether the bundle is there."""

    def find(self, flow: str, version: str) -> Source | None:
        """The bundle of a flow's version; None if it is not there."""


@dataclass(frozen=True, slots=True)
class InRegistry:
    """The bundles of a domain with a registry; `registry` is that of BUILD.toml, where it says.

    `open` makes the client of a registry by its host.
    """

    registry: str | None
    jobs: int
    reporter: PlainReporter
    open: Callable[[str], Registry]

    def put(self, bundle: Source, repository: str) -> bool:
        from mfbuild.bundle.remote import push_bundle

        return push_bundle(bundle, self._open(repository), jobs=self.jobs, reporter=self.reporter)

    def has(self, manifest: BundleManifest, repository: str) -> bool:
        return self._open(repository).find(manifest.version) is not None

    def find(self, flow: str, version: str) -> Source | None:
        from mfbuild.bundle.remote import find_remote

        if not self.registry:
            raise UsageError(
                "nothing says which registry has the bundles",
                hint="set `registry` in BUILD.toml, or MFBUILD_REGISTRY",
            )
        found = find_remote(self._open(f"{self.registry}/{repository_name(flow)}"), version)
        if found and found.manifest.flow != flow:
            raise BundleError(
                f"`{found.repository}:{version}` is the bundle of the flow `{found.manifest.flow}`",
                hint="flows that differ by case alone share a repository, not versions",
            )
        return found

    def _open(self, repository: str) -> Repository:
        from mfbuild.oci.registry import Repository

        host, _, path = repository.partition("/")
        return Repository(self.open(host), path)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The bundles of the embedded backend; those of a registry are pulled."""

    backend: EmbeddedBackend
    jobs: int
    reporter: PlainReporter

    def put(self, bundle: Source, repository: str) -> bool:
        if self.has(bundle.manifest, repository):
            return False
        if isinstance(bundle, Bundle):
            self.backend.keep_bundle(bundle)
        else:
            self._pull(bundle)
        return True

    def has(self, manifest: BundleManifest, repository: str) -> bool:
        return self.backend.keeps_bundle(manifest.flow, manifest.version)

    def find(self, flow: str, version: str) -> Source | None:
        return self.backend.find_bundle(flow, version)

    def _pull(self, bundle: RemoteBundle) -> None:
        import tempfile
        from pathlib import Path

        from mfbuild.bundle.read import read_bundle
        from mfbuild.bundle.remote import pull_bundle

        with tempfile.TemporaryDirectory(dir=self.backend.root / ".mfbuild") as folder:
            path = pull_bundle(bundle, Path(folder), jobs=self.jobs, reporter=self.reporter)
            self.backend.keep_bundle(read_bundle(path))
