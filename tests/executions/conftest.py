"""What is pushed to is what the tests of push have."""

from __future__ import annotations

from tests.push.conftest import place, running, target

__all__ = ["place", "running", "target"]
