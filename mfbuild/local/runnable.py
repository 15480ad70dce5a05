"""What a run runs: entities, from wherever they come, with their inputs and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mfbuild.local.parameters import Value
from mfbuild.local.run_source import RunSource

if TYPE_CHECKING:
    from mfbuild.local.program import Program


class Runnable(Protocol):
    """What is to be run, wherever its entities come from."""

    @property
    def packaged(self) -> RunSource:
        """The flow, and the images of its steps."""

    @property
    def first_image(self) -> str:
        """What the first task calls its image."""

    def program(self, folder: Path) -> Program:
        """The workflow and its inputs, with what it needs of files laid into `folder`; OSError."""


@dataclass(frozen=True, slots=True)
class Given:
    """A packaged flow with the Parameters of a run; `prefix` comes before its entities' names."""

    packaged: RunSource
    parameters: Mapping[str, Value]
    prefix: str

    @property
    def first_image(self) -> str:
        return self.packaged.image_of(self.packaged.spec.start)

    def program(self, folder: Path) -> Program:
        from mfbuild.local.program import program_of

        return program_of(self.packaged, self.prefix, self.parameters, folder)
