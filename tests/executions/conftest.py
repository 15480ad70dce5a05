"""What is pushed to is what the tests of push have."""

from __future__ import annotations

from tests.push.conftest import flyte, running, target

__all__ = ["flyte", "running", "target"]
