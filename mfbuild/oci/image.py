"""Image configs, manifests and indexes, and the check that no two layers disagree on a path."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mfbuild.engine.model import Blob, Digest, Work, canonical
from mfbuild.errors import ActionError, Problem, named
from mfbuild.oci.tar import same_content
from mfbuild.oci.types import (
    IMAGE_CONFIG,
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    Descriptor,
    LayerInfo,
    Platform,
)

EPOCH = "1970-01-01T00:00:00Z"
MAX_LAYERS = 127


@dataclass(frozen=True, slots=True)
class PathEntry:
    """A file or symlink of a layer: its content (`oci.tar.layer_outputs`), mode and package."""

    path: str
    content: str
    mode: int
    owner: str


def image(work: Work) -> None:
    """The `oci.image` tool: one platform's config and manifest.

    Inputs `layer/<nn>`, `info/<nn>` and `paths/<nn>`; a layer with a `diff_id` in its params (one
    of a foreign base) has the first only, and one whose paths are told by another lacks the last.
    A layer of no bytes is none. Layer bytes are never read. Params: `platform`, `user`,
    `env`, `entrypoint`, `cmd`, `workdir`, `labels` and `layers`, lowest first, each `input`
    (the `<nn>`), `media_type` and perhaps `diff_id`. ActionError if the layers do not fit.
    """
    params = work.params
    entries = [e for e in params["layers"] if work.inputs[f"layer/{e['input']}"].blob.size]
    if len(entries) > MAX_LAYERS:
        raise ActionError(f"the image has `{len(entries)}` layers; at most {MAX_LAYERS} can be run")
    check_paths(
        entry
        for name, blob in sorted(work.inputs.items())
        if name.startswith("paths/")
        for entry in parse_paths(blob.read())
    )
    config = image_config(params, [_info(work, entry) for entry in entries])
    layers = [
        _descriptor(e["media_type"], work.inputs[f"layer/{e['input']}"].blob) for e in entries
    ]
    described = Descriptor(IMAGE_CONFIG, Digest.of(config), len(config))
    work.outputs["config"].write_bytes(config)
    work.outputs["manifest"].write_bytes(image_manifest(described, layers))


def index(work: Work) -> None:
    """The `oci.index` tool: the image index over `platforms`, each an input of that name."""
    platforms = [Platform.parse(text) for text in sorted(set(work.params["platforms"]))]
    manifests = [(p, work.inputs[str(p)].blob) for p in platforms]
    work.outputs["index"].write_bytes(
        image_index([Descriptor(IMAGE_MANIFEST, b.digest, b.size, p) for p, b in manifests])
    )


def image_config(params: Mapping[str, Any], layers: Sequence[LayerInfo]) -> bytes:
    """The image config (image-spec, config.md) that `params` of `oci.image` describe."""
    platform = Platform.parse(params["platform"])
    settings = {
        "User": params.get("user"),
        "Env": params.get("env"),
        "Entrypoint": params.get("entrypoint"),
        "Cmd": params.get("cmd"),
        "WorkingDir": params.get("workdir"),
        "Labels": params.get("labels"),
    }
    return _json(
        platform.json()
        | {
            "created": EPOCH,
            "config": {name: value for name, value in settings.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
            "history": [{"created": EPOCH, "created_by": layer.comment} for layer in layers],
        }
    )


def image_manifest(
    config: Descriptor, layers: Iterable[Descriptor], artifact_type: str | None = None
) -> bytes:
    """An image manifest (image-spec, manifest.md), of an artifact if it has an `artifact_type`."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "config": config.json(),
            "layers": [layer.json() for layer in layers],
        }
        | ({"artifactType": artifact_type} if artifact_type else {})
    )


def image_index(manifests: Iterable[Descriptor]) -> bytes:
    """An image index (image-spec, image-index.md) of `manifests` in the order given."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE_INDEX,
            "manifests": [manifest.json() for manifest in manifests],
        }
    )


def parse_paths(data: bytes) -> list[PathEntry]:
    """Read a layer's `paths`, see `oci.tar.layer_outputs`."""
    rows = (line.rsplit("\t", 3) for line in data.decode().split("\n") if line)
    return [PathEntry(path, content, int(mode, 8), owner) for path, content, mode, owner in rows]


def check_paths(entries: Iterable[PathEntry]) -> None:
    """ActionError naming every two owners that bring different content to the same path.

    A later layer would silently win in the container. The same content twice is no clash; a path
    that is a file (or symlink) of one owner and a directory of another's is.
    """
    files: dict[str, PathEntry] = {}
    disputed: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        first = files.setdefault(entry.path, entry)
        if first is not entry and not same_content(first.content, entry.content):
            _dispute(disputed, first, entry, entry.path)
    for path, inside in _directories(files.values()).items():
        if path in files:
            _dispute(disputed, files[path], inside, path)
    ActionError.raise_for([_collision(*item) for item in sorted(disputed.items())])


def _dispute(
    disputed: dict[tuple[str, str], set[str]], one: PathEntry, other: PathEntry, path: str
) -> None:
    if one.owner != other.owner:
        first, second = sorted((one.owner, other.owner))
        disputed.setdefault((first, second), set()).add(path)


def _directories(files: Iterable[PathEntry]) -> dict[str, PathEntry]:
    """Every directory that `files` lie in, with one of those."""
    found: dict[str, PathEntry] = {}
    for file in files:
        parent = file.path.rpartition("/")[0]
        while parent and parent not in found:
            found[parent] = file
            parent = parent.rpartition("/")[0]
    return found


def _collision(owners: tuple[str, str], paths: set[str]) -> Problem:
    return Problem(
        f"`{owners[0]}` and `{owners[1]}` bring different content to {named(sorted(paths))}",
        hint="leave one of the two out: of the step, or, where other packages require both, by "
        "`override-dependencies` in uv.toml",
    )


def _info(work: Work, entry: Mapping[str, str]) -> LayerInfo:
    if "diff_id" in entry:
        return LayerInfo(Digest.parse(entry["diff_id"]), "base image")
    return LayerInfo.parse(json.loads(work.inputs[f"info/{entry['input']}"].read()))


def _descriptor(media_type: str, blob: Blob) -> Descriptor:
    return Descriptor(media_type, blob.digest, blob.size)


def _json(value: Mapping[str, Any]) -> bytes:
    return canonical(value).encode()
