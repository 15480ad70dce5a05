"""The embedded backend as push takes it: both ports, and the bundles that it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mfbuild.bundle.read import Bundle
from mfbuild.engine.store import Store
from mfbuild.flyte.backend import ExecutionId
from mfbuild.local.embedded import bundles
from mfbuild.local.embedded.executions import EmbeddedExecutions
from mfbuild.local.embedded.files import FLYTE, Files
from mfbuild.local.embedded.registrations import EmbeddedRegistrations
from mfbuild.local.embedded.standing import Log
from mfbuild.local.places import default_place
from mfbuild.local.state import RUNS


class EmbeddedBackend:
    """The Backend that is the folder `.mfbuild/flyte` of the workspace `root`.

    `projects` are those of the configuration, with their domains; `place` is where steps run, one
    of `local.places.PLACES`; None: in their images, without a container where that is possible.
    """

    name = "local"

    def __init__(
        self, root: Path, store: Store, projects: Mapping[str, Sequence[str]], place: str | None
    ) -> None:
        self.root = root.absolute()
        self._files = Files(self.root / FLYTE)
        self.registrations = EmbeddedRegistrations(self._files, projects)
        self.executions = EmbeddedExecutions(
            runs=self.root / RUNS,
            registrations=self.registrations,
            store=store.root.absolute(),
            place=place or default_place(),
        )

    def keep_bundle(self, bundle: Bundle) -> Path:
        """Keep a copy of a bundle, hard links where possible, and give its path; BundleError."""
        return bundles.keep(bundle, self._files)

    def find_bundle(self, flow: str, version: str) -> Bundle | None:
        """The kept bundle of a flow's version; BundleError if it is damaged."""
        return bundles.find(flow, version, self._files)

    def logs(self, id: ExecutionId, step: str | None = None) -> Iterator[Log]:
        """The logs of an execution's attempts, of one step if it is named; FlyteError."""
        return self.executions.logs(id, step)
