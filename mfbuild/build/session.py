"""One command at work: what it was asked, and where its effects go."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfbuild.config import Config
from mfbuild.errors import UsageError
from mfbuild.report import PlainReporter, reporter

if TYPE_CHECKING:
    from mfbuild.engine.cache import Cache
    from mfbuild.engine.store import Store

LOCK = "BUILD.lock"


@dataclass(frozen=True, slots=True)
class Options:
    """What one command asks for, beside the Config.

    `python` loads the flows; `flow_options` are Metaflow's own top-level options for them; `shape`
    are the flags that shape a bundle, as JSON. `output` and `load` say where bundles go besides
    their folder (`build.deliver`).
    """

    python: Path
    flow_options: tuple[str, ...] = ()
    refresh: bool = False
    locked: bool = False
    fresh: bool = False
    shape: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    load: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """One command at work: what it was asked, and the effects that it may have."""

    config: Config
    options: Options
    store: Store
    reporter: PlainReporter

    @property
    def cache(self) -> Cache:
        """The action cache, with this workspace's history."""
        from mfbuild.engine.cache import Cache

        return Cache(self.store, str(self.config.root))

    @property
    def lock_file(self) -> Path:
        return self.config.root / LOCK


@contextmanager
def _temporary_files_in(store: Store) -> Iterator[None]:
    """Have the process's temporary files in the store.

    There the next command removes them, where this one is killed.
    """
    before = tempfile.tempdir
    with store.temporary() as folder:
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextmanager
def open_session(
    config: Config, options: Options, *, progress: str = "auto", quiet: bool = False
) -> Iterator[Session]:
    """The session of one command; its store is closed and its progress cleared at the end.

    `progress` is how progress is shown (`report.reporter`). UsageError for an interpreter that is
    not there; StoreError where there can be no store.
    """
    if not options.python.exists():
        raise UsageError(f"there is no interpreter `{options.python}`")
    from mfbuild.engine.store import Store

    with Store.open(config.store) as store, _temporary_files_in(store):
        shown = reporter(progress, quiet=quiet)
        try:
            yield Session(config, options, store, shown)
        finally:
            shown.close()
