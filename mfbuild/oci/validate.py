"""Validation of a whole OCI image layout: every digest, size, diffID and reference."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError, Problem
from mfbuild.oci.layout import (
    MARKER,
    Extent,
    Layout,
    blob_name,
    children,
    json_object,
)
from mfbuild.oci.types import IMAGE_CONFIG, INDEX_TYPES, MANIFEST_TYPES, Descriptor

IMAGE_CONFIGS = (IMAGE_CONFIG, "application/vnd.docker.container.image.v1+json")
_PIECE = 1 << 20
_SLICE = 1 << 14


def validate_layout(
    path: Path, note: Callable[[str], None] = lambda sentence: None
) -> list[Problem]:
    """Everything that is wrong with the layout in the directory or tar `path`; [] if nothing is.

    `note` gets a sentence for each thing that cannot be checked (diffIDs of zstd layers).
    """
    try:
        return check_layout(Layout.open(path), note)
    except BundleError as error:
        return list(error.problems)


def check_layout(
    layout: Layout, note: Callable[[str], None] = lambda sentence: None
) -> list[Problem]:
    """As `validate_layout`, for a layout that is open."""
    check = _Check(layout)
    for name in layout.strays:
        check.wrong(f"`{name}` is not a plain file inside the layout, or is there twice")
    check.marker()
    check.references()
    for sentence in dict.fromkeys(check.notes):
        note(sentence)
    return list(dict.fromkeys(check.problems))


@dataclass(frozen=True, slots=True)
class _Measured:
    """A blob as it is: `diff_id` is None where the layer's encoding is unknown here."""

    digest: Digest
    size: int
    diff_id: Digest | None
    flaw: str | None


@dataclass(slots=True)
class _Check:
    """One walk over a layout from its index.json, and what it has found."""

    layout: Layout
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: dict[tuple[Digest, str], _Measured] = field(default_factory=dict)

    def wrong(self, message: str) -> None:
        self.problems.append(Problem(message, where=str(self.layout.path)))

    def marker(self) -> None:
        try:
            version = json_object(self.layout.read(MARKER), MARKER).get("imageLayoutVersion")
        except BundleError as error:
            self.problems += error.problems
            return
        if version != "1.0.0":
            self.wrong(f"`{MARKER}` names the version `{version}`, not `1.0.0`")

    def references(self) -> None:
        """Follow every reference, then name the blobs that none leads to."""
        try:
            waiting = list(self.layout.index())
        except BundleError as error:
            self.problems += error.problems
            return
        while waiting:
            waiting += self.visit(waiting.pop(0))
        used = {blob_name(digest) for digest, _ in self.measured}
        for name in sorted(self.layout.files):
            if name.startswith("blobs/") and name not in used:
                self.wrong(f"nothing refers to `{name}`")

    def visit(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """Check one blob against its descriptor; what it refers to in turn, if that is new."""
        known = (descriptor.digest, descriptor.media_type) in self.measured
        sound = self.blob(descriptor)
        if known or not sound:
            return ()
        if descriptor.media_type not in (*INDEX_TYPES, *MANIFEST_TYPES):
            return ()
        try:
            document = self.layout.blob(descriptor.digest)
            found = children(descriptor.media_type, document, f"blob {descriptor.digest}")
            if descriptor.media_type in MANIFEST_TYPES and found[0].media_type in IMAGE_CONFIGS:
                self.image(descriptor, found[0], found[1:])
        except BundleError as error:
            self.problems += error.problems
            return ()
        return found

    def blob(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there, and is what the descriptor says."""
        digest, key = descriptor.digest, (descriptor.digest, descriptor.media_type)
        known = key in self.measured
        extent = self.layout.files.get(blob_name(digest))
        if extent is None:
            self.wrong(f"blob `{digest}` is missing")
            return False
        if not known:
            self.measured[key] = _measure(extent, descriptor.media_type)
        found = self.measured[key]
        if found.digest != digest and not known:
            self.wrong(f"blob `{digest}` has changed: it is `{found.digest}`")
        elif found.size != descriptor.size:
            self.wrong(f"blob `{digest}` has `{found.size}` bytes, not `{descriptor.size}`")
        return found.digest == digest and found.size == descriptor.size

    def image(
        self, manifest: Descriptor, config: Descriptor, layers: tuple[Descriptor, ...]
    ) -> None:
        """Check an image's config against its manifest and its layers (image-spec, config.md)."""
        if not self.blob(config):
            return
        name = f"config {config.digest}"
        value = json_object(self.layout.blob(config.digest), name)
        rootfs, history = value.get("rootfs"), value.get("history")
        diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
            self.wrong(f"`{name}` does not have a diffID for each of the `{len(layers)}` layers")
            return
        if history is not None and _layers_of(history) != len(layers):
            self.wrong(f"`{name}` does not have a history of `{len(layers)}` layers")
        self.platform(name, manifest, value)
        for layer, diff_id in zip(layers, diff_ids, strict=True):
            self.layer(layer, diff_id)

    def platform(self, name: str, manifest: Descriptor, config: dict[str, Any]) -> None:
        if (expected := manifest.platform) is None:
            return
        if (config.get("os"), config.get("architecture")) != (expected.os, expected.architecture):
            found = f"{config.get('os')}/{config.get('architecture')}"
            self.wrong(f"`{name}` is for `{found}`, its manifest for `{expected}`")

    def layer(self, layer: Descriptor, diff_id: object) -> None:
        """Check a layer's diffID; what else is wrong with the blob is said when it is visited."""
        key = (layer.digest, layer.media_type)
        extent = self.layout.files.get(blob_name(layer.digest))
        if extent is None:
            return
        if key not in self.measured:
            self.blob(layer)
        found = self.measured[key]
        if found.digest != layer.digest:
            return
        if found.flaw:
            self.wrong(f"layer `{layer.digest}` {found.flaw}")
        elif found.diff_id is None:
            self.notes.append(
                f"the diffID of `{layer.digest}` is not checked: `{layer.media_type}`"
            )
        elif str(found.diff_id) != diff_id:
            self.wrong(f"layer `{layer.digest}` has the diffID `{found.diff_id}`, not `{diff_id}`")


def _layers_of(history: object) -> int | None:
    """How many layers a config's history tells of; None if it is no history."""
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        return None
    return sum(not entry.get("empty_layer") for entry in history)


def _measure(extent: Extent, media_type: str) -> _Measured:
    """Read a blob once for its digest, its size and, if it is a layer, its diffID."""
    digest, size, flaw = hashlib.sha256(), 0, None

    def chunks() -> Iterator[bytes]:
        nonlocal size
        for chunk in extent.chunks():
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    inflated = hashlib.sha256()
    whole = chunks()
    if gzipped := media_type.endswith((".tar+gzip", ".tar.gzip")):
        try:
            for data in inflate(whole):
                inflated.update(data)
        except (zlib.error, EOFError):
            flaw = "cannot be inflated"
    for _ in whole:
        pass
    plain = Digest(digest.hexdigest()) if media_type.endswith(".tar") else None
    diff_id = Digest(inflated.hexdigest()) if gzipped else plain
    return _Measured(Digest(digest.hexdigest()), size, diff_id, flaw)


def inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of gzip members, one after another, in pieces of at most 1 MiB."""
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    for chunk in chunks:
        # zlib copies what follows a member, so a long rest would be copied once per member.
        for at in range(0, len(chunk), _SLICE):
            rest, full = chunk[at : at + _SLICE], False
            while rest or full:
                if stream.eof:
                    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
                data = stream.decompress(rest, _PIECE)
                yield data
                full = len(data) == _PIECE and not stream.eof
                rest = stream.unused_data if stream.eof else stream.unconsumed_tail
    if not stream.eof:
        raise EOFError
