"""The `oci.tree` action: plain files and generated text as one layer or archive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mfbuild.engine.model import Action, Input, canonical
from mfbuild.rules.providers import CodeEntry, layer_action


def tree_action(
    label: str,
    entries: Iterable[Mapping[str, Any]],
    inputs: Mapping[str, Input],
    *,
    comment: str,
    owner: str,
) -> Action:
    """An archive of `entries`, each `path`, `mode` and one of `input`, `text`, `symlink`."""
    ordered = sorted(entries, key=lambda e: str(e["path"]).encode())
    params = canonical({"comment": comment, "entries": ordered, "owner": owner})
    return layer_action(label, "oci.tree", params, inputs, comment)


def file_entries(
    files: Iterable[CodeEntry], prefix: str = ""
) -> tuple[list[dict[str, Any]], dict[str, Input]]:
    """`files` below `prefix` as entries of a tree, and the inputs that those name."""
    entries: list[dict[str, Any]] = []
    inputs: dict[str, Input] = {}
    for file in files:
        mode = 0o755 if file.executable else 0o644
        content = {"text": file.text} if file.source is None else {"input": file.path}
        entries.append({"path": prefix + file.path, "mode": mode, **content})
        if file.source is not None:
            inputs[file.path] = file.source
    return entries, inputs
