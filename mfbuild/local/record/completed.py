"""What is left of an execution: each node's attempts, and the outputs of those that succeeded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mfbuild.local.record.state import JournalEntry, read_journal
from mfbuild.local.sandbox.pod import outputs_digest, succeeded
from mfbuild.local.workflow.model import Recalled, Success


def completed(folder: Path, nodes: Path, warn: Callable[[str], None]) -> dict[str, Recalled]:
    """What the journal in `folder` and the files in `nodes` know of each node.

    A node whose outputs are not what its attempt has left is to run again; `warn` is told of it.
    """
    found: dict[str, Recalled] = {}
    for entry in read_journal(folder):
        success = found.get(entry.node, Recalled()).success
        if entry.phase == "succeeded":
            success = _success(entry, nodes / entry.node / str(entry.attempt), warn)
        attempts = max(entry.attempt + 1, found.get(entry.node, Recalled()).attempts)
        found[entry.node] = Recalled(attempts, success)
    for node, known in found.items():  # an attempt whose line is damaged has a folder all the same
        found[node] = Recalled(max(known.attempts, _begun(nodes / node)), known.success)
    return found


def _success(entry: JournalEntry, folder: Path, warn: Callable[[str], None]) -> Success | None:
    if entry.outputs not in (None, outputs_digest(folder)):
        warn(f"the outputs of `{entry.node}` are damaged: it runs again")
        return None
    read = succeeded(folder)
    return read if isinstance(read, Success) else None


def _begun(node: Path) -> int:
    """How many attempts of a node have a folder."""
    numbers = [int(path.name) for path in node.glob("[0-9]*") if path.name.isdecimal()]
    return max(numbers, default=-1) + 1
