"""The whole program in its own processes, as the end-to-end tests have it."""

from __future__ import annotations

from tests.e2e.conftest import mfbuild, session_store

__all__ = ["mfbuild", "session_store"]
