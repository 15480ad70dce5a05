"""The engine's vocabulary: digests, sources, actions, tools and results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

_HEX = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256 digest; `str()` gives the OCI form `sha256:<64 hex digits>`."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<hex>`; ValueError if it is anything else."""
        algorithm, _, digits = text.partition(":")
        if algorithm != "sha256" or not _HEX.match(digits):
            raise ValueError(f"`{text}` is not a sha256 digest")
        return cls(digits)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True, slots=True)
class Blob:
    """Content by identity: its digest and its size in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Source:
    """A blob whose digest is known before the build runs.

    `locator` says where its bytes come from and is no part of any key: `file:<absolute path>` is
    read in place; any other scheme (`wheel:`, `deb:`, `oci:`) names the Fetcher that downloads it.
    """

    blob: Blob
    locator: str


@dataclass(frozen=True, slots=True)
class Output:
    """The blob that the action `label` produces under `name`."""

    label: str
    name: str


Input = Source | Output


@dataclass(frozen=True, slots=True)
class Action:
    """One cached, deterministic unit of work: inputs by digest -> outputs by digest.

    `params` is canonical JSON (see `canonical`). `inputs` and `outputs` are sorted by name.
    `description` is what people read while it runs; it and `label` are not part of the key.
    """

    label: str
    tool: str
    params: str
    inputs: tuple[tuple[str, Input], ...]
    outputs: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action produced: its output blobs by name."""

    outputs: Mapping[str, Blob]


class InputBlob(Protocol):
    """An input as a tool sees it; bytes are verified against `blob.digest` before or while read."""

    @property
    def blob(self) -> Blob: ...

    def path(self) -> Path:
        """A local file with the verified content; must not be written to."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces; raises at the end if it was not what the digest promised."""
        ...

    def read(self) -> bytes:
        """The whole verified content."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What a running tool may touch.

    `outputs` maps each declared output name to a path that does not exist yet and that the tool
    must create; `scratch` is an empty directory of its own. `tick(n)` reports n more bytes done
    and raises Interrupted when the build is being cancelled: call it at least once per MiB.
    """

    params: Any
    inputs: Mapping[str, InputBlob]
    outputs: Mapping[str, Path]
    scratch: Path
    tick: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that makes bytes, with the version that enters the key of its actions."""

    version: int
    run: Callable[[Work], None]


class Fetcher(Protocol):
    """Downloads one source; the engine verifies the digest afterwards."""

    def __call__(self, source: Source, destination: Path, tick: Callable[[int], None]) -> None:
        """Write the bytes of `source` to `destination` (which does not exist); FetchError."""
        ...


def canonical(value: Any) -> str:
    """`value` as canonical JSON: sorted keys, no spaces, UTF-8 characters as they are."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
