"""What rules give each other: one frozen provider per kind of target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mfbuild.bases.model import Base
from mfbuild.engine.model import Action, Digest, Input, Output, Source
from mfbuild.oci.types import LAYER_GZIP, Platform
from mfbuild.python.model import LockedEnvironment

P = TypeVar("P", covariant=True)


@dataclass(frozen=True, slots=True)
class Declared(Generic[P]):
    """What a rule returns: its provider, and the actions that it declares."""

    provider: P
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """A file of the code tarball or of a source package: `source` here, or generated `text`.

    `path` is its name in the archive.
    """

    path: str
    source: Source | None
    text: str | None
    executable: bool


@dataclass(frozen=True, slots=True)
class SourceTree:
    """A package that is laid in from its source files; paths are relative to site-packages."""

    name: str
    files: tuple[CodeEntry, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """One distinct environment of a flow: its lock, its base, and the steps that share it."""

    locked: LockedEnvironment
    base: Base
    sources: tuple[SourceTree, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer of an image. A layer taken from a foreign base has a `diff_id` and no outputs.

    A layer whose `paths` are told by another one of the image has none of its own.
    """

    blob: Output
    info: Output | None = None
    paths: Output | None = None
    media_type: str = LAYER_GZIP
    diff_id: Digest | None = None

    @classmethod
    def made_by(cls, label: str) -> ImageLayer:
        """The layer that the layer-making action `label` produces."""
        return cls(Output(label, "layer"), Output(label, "info"), Output(label, "paths"))


Layers = Mapping[Platform, tuple[ImageLayer, ...]]


@dataclass(frozen=True, slots=True)
class BaseInfo:
    """A base image's layers and environment variables, per platform."""

    layers: Layers
    env: Mapping[Platform, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class EnvInfo:
    """The layers of one environment per platform, lowest first, without those of its base.

    `overlaps` is what the tool `wheel.overlap` says of its wheels.
    """

    layers: Layers
    overlaps: Mapping[Platform, Output]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image: its index over the platforms, and each platform's manifest and config."""

    index: Output
    manifests: Mapping[Platform, Output]
    configs: Mapping[Platform, Output]
    layers: Layers


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """The fast-register tarball, gzipped."""

    tarball: Output


@dataclass(frozen=True, slots=True)
class FlyteInfo:
    """The templates of Flyte's entities."""

    templates: Output


def layer_action(
    label: str, tool: str, params: str, inputs: Mapping[str, Input], description: str
) -> Action:
    """An action of a layer-making tool: all of those have the outputs info, layer and paths."""
    return Action(
        label=label,
        tool=tool,
        params=params,
        inputs=tuple(sorted(inputs.items())),
        outputs=("info", "layer", "paths"),
        description=description,
    )


def merged(actions: Sequence[Action]) -> tuple[Action, ...]:
    """`actions` without repeats; two different actions under one label are a bug."""
    found: dict[str, Action] = {}
    for action in actions:
        if found.setdefault(action.label, action) != action:
            raise AssertionError(f"BUG: two different actions are called {action.label}")
    return tuple(found.values())
