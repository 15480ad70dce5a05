"""The embedded backend as push takes it: both ports, and the bundles that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mfbuild.bundle.read import Bundle
from mfbuild.engine.store import Store
from mfbuild.local.embedded import bundles
from mfbuild.local.embedded.files import FLYTE, Files
from mfbuild.local.embedded.registrations import EmbeddedRegistrations


class EmbeddedBackend:
    """The Backend that is the folder `.mfbuild/flyte` of the workspace `root`.

    `projects` are those of the configuration, with their domains; `place` is where steps run, one
    of `local.places.PLACES`; None: in their images, without a container where that is possible.
    """

    name = "local"

    def __init__(
        self, root: Path, store: Store, projects: Mapping[str, Sequence[str]], place: str | None
    ) -> None:
        self.root, self.store, self.place = root.absolute(), store, place
        self._files = Files(self.root / FLYTE)
        self.registrations = EmbeddedRegistrations(self._files, projects)

    def keep_bundle(self, bundle: Bundle) -> Path:
        """Keep a copy of a bundle, hard links where possible, and give its path; BundleError."""
        return bundles.keep(bundle, self._files)

    def find_bundle(self, flow: str, version: str) -> Bundle | None:
        """The kept bundle of a flow's version; BundleError if it is damaged."""
        return bundles.find(flow, version, self._files)
