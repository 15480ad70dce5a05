"""Flows on the engine: packaged, pushed, run, and their artifacts beside those of Metaflow."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "flows"
_NOT_RUN = {"gang", "inherited_base"}
"""What Flyte cannot run, and what is no flow."""
FLOWS = [file for file in sorted(_FOLDER.glob("*.py")) if file.stem not in _NOT_RUN]
