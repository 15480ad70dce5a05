"""The tools `oci.tree`, a layer from files that are named one by one, and `oci.copy`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mfbuild.engine.model import InputBlob, Work
from mfbuild.errors import ActionError, Problem
from mfbuild.oci.tar import LayerWriter, layer_outputs


def run(work: Work) -> None:
    """Lay down `entries` as the outputs of `layer_outputs`.

    Parameters: `comment`, `owner`, and `entries` in any order, each an object with `path`, `mode`
    (an integer; a symlink has none) and one of `input` (the name of the input that is its
    content), `text` (its content, in UTF-8) and `symlink` (its target). ActionError for a path
    that is there twice or cannot be in an image.
    """
    entries = sorted(work.params["entries"], key=lambda entry: entry["path"].encode())
    ActionError.raise_for(
        [
            Problem(f"`{first['path']}` is laid down twice", where=work.params["owner"])
            for first, second in pairwise(entries)
            if first["path"] == second["path"]
        ]
    )
    with layer_outputs(work, work.params["comment"]) as writer:
        for entry in entries:
            _write(writer, entry, work.params["owner"], work.inputs)


def copy(work: Work) -> None:
    """The tool `oci.copy`: its input `layer`, verified, as its output `layer`."""
    with work.outputs["layer"].open("wb") as out:
        for chunk in work.inputs["layer"].chunks():
            out.write(chunk)
            work.tick(len(chunk))


def _write(
    writer: LayerWriter, entry: Mapping[str, Any], owner: str, inputs: Mapping[str, InputBlob]
) -> None:
    path = entry["path"]
    if "symlink" in entry:
        writer.symlink(path, entry["symlink"], owner=owner)
    elif "text" in entry:
        writer.file(path, entry["text"].encode(), entry["mode"], owner=owner)
    else:
        content = inputs[entry["input"]]
        writer.stream(path, content.chunks(), content.blob.size, entry["mode"], owner=owner)
