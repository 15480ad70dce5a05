"""The code rule: the user's files as the fast-register tarball."""

from __future__ import annotations

from collections.abc import Sequence

from mfbuild.engine.model import Output
from mfbuild.rules.providers import CodeEntry, CodeInfo, Declared
from mfbuild.rules.tree import file_entries, tree_action


def code(flow: str, files: Sequence[CodeEntry]) -> Declared[CodeInfo]:
    """The tarball of the flow with the label `flow` (`//train.py`)."""
    label = f"{flow}.code"
    entries, inputs = file_entries(files)
    action = tree_action(label, entries, inputs, comment="code tarball", owner=flow)
    return Declared(CodeInfo(Output(label, "layer")), (action,))
