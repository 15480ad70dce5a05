"""One command at work: what it was asked, and where its effects go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.config import Config
from mfbuild.report import PlainReporter

if TYPE_CHECKING:
    from mfbuild.engine.cache import Cache
    from mfbuild.engine.store import Store

LOCK = "BUILD.lock"


@dataclass(frozen=True, slots=True)
class Options:
    """What one command asks for, beside the Config.

    `python` loads the flows; `flow_options` are Metaflow's own top-level options for them.
    """

    python: Path
    flow_options: tuple[str, ...] = ()
    refresh: bool = False
    locked: bool = False
    fresh: bool = False


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
