"""The embedded backend as push takes it: both ports, and the bundles that it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.bundle.read import Bundle
from mfbuild.engine.store import Store
from mfbuild.flyte.backend import ExecutionId
from mfbuild.local.embedded import bundles
from mfbuild.local.embedded.files import FLYTE, BackendFiles
from mfbuild.local.embedded.registrations import EmbeddedRegistrations

if TYPE_CHECKING:
    from mfbuild.local.embedded.executions import EmbeddedExecutions
    from mfbuild.local.embedded.status import Log


class EmbeddedBackend:
    """The Backend that is the folder `.mfbuild/flyte` of the workspace `root`.

    `projects` are those of the configuration, with their domains; `sandbox` is where steps run, one
    of `local.sandbox.choose.SANDBOXES`; None: in their images, without a container where
    that is possible. `environ` is the caller's environment.
    `warn` gets a sentence for each run that a list leaves out.
    """

    name = "local"

    def __init__(
        self,
        root: Path,
        store: Store,
        projects: Mapping[str, Sequence[str]],
        sandbox: str | None,
        environ: Mapping[str, str],
        warn: Callable[[str], None],
    ) -> None:
        self.root = root.absolute()
        self._store, self._warn = store.root.absolute(), warn
        self._sandbox, self._environ = sandbox, environ
        self._files = BackendFiles(self.root / FLYTE)
        self.registrations = EmbeddedRegistrations(self._files, projects, warn)

    @cached_property
    def executions(self) -> EmbeddedExecutions:
        """Made, and imported, where something is to run: a push starts nothing."""
        from mfbuild.local.embedded.executions import EmbeddedExecutions
        from mfbuild.local.record.state import RUNS
        from mfbuild.local.sandbox.choose import default_sandbox

        return EmbeddedExecutions(
            runs=self.root / RUNS,
            registrations=self.registrations,
            store=self._store,
            sandbox=self._sandbox or default_sandbox(),
            environ=self._environ,
            warn=self._warn,
        )

    def keep_bundle(self, bundle: Bundle) -> Path:
        """Keep a copy of a bundle, hard links where possible, and give its path; BundleError."""
        return bundles.keep(bundle, self._files)

    def keeps_bundle(self, flow: str, version: str) -> bool:
        """Whether the bundle of a flow's version is kept, every byte of it."""
        return bundles.is_whole(flow, version, self._files)

    def find_bundle(self, flow: str, version: str) -> Bundle | None:
        """The kept bundle of a flow's version; BundleError if it is damaged."""
        return bundles.find(flow, version, self._files)

    def logs(self, id: ExecutionId, step: str | None = None) -> Iterator[Log]:
        """The logs of an execution's attempts, of one step if it is named; FlyteError."""
        return self.executions.logs(id, step)
