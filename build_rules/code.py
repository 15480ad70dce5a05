"""The code rule: the user's files as the fast-register tarball."""

from __future__ import annotations

from collections.abc import Sequence

from build_rules.providers import CodeEntry, CodeInfo, Declared
from build_rules.tree import file_entries, tree_action
from mfbuild.engine.model import Output


def code(flow: str, files: Sequence[CodeEntry]) -> Declared[CodeInfo]:
    """The tarball of the flow with the label `flow` (`//train.py`)."""
    label = f"{flow}.code"
    entries, inputs = file_entries(files)
    action = tree_action(label, entries, inputs, comment="code tarball", owner=flow)
    return Declared(CodeInfo(Output(label, "layer")), (action,))
