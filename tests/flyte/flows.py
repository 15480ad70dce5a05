"""Which flows of this repository the compiler's tests use."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]

REFUSED = ("tests/flows/gang.py",)
"""Flows that Flyte cannot run."""

FLOWS = tuple(
    str(file.relative_to(ROOT))
    for file in sorted([*ROOT.glob("tests/flows/*.py"), *ROOT.glob("examples/*/flow.py")])
    if not file.stem.endswith("_base")
)
"""All flow files, as paths from the root."""
