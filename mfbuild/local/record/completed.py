"""What is left of an execution: each node's attempts, and the outputs of those that succeeded."""

from __future__ import annotations

from pathlib import Path

from mfbuild.local.record.state import read_journal
from mfbuild.local.sandbox.pod import succeeded
from mfbuild.local.workflow.model import Recalled, Success


def completed(folder: Path, nodes: Path) -> dict[str, Recalled]:
    """What the journal in `folder` and the files in `nodes` know of each node."""
    found: dict[str, Recalled] = {}
    for entry in read_journal(folder):
        before = found.get(entry.node, Recalled())
        success = before.success
        if entry.phase == "succeeded":
            read = succeeded(nodes / entry.node / str(entry.attempt))
            success = read if isinstance(read, Success) else None
        found[entry.node] = Recalled(max(before.attempts, entry.attempt + 1), success)
    return found
