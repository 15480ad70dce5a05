"""The images of a run: which step's image a task names, and what every sandbox gives to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from mfbuild.bundle.read import Bundle
from mfbuild.engine.store import Store
from mfbuild.local.sandbox.environment import HOME, machine_binds, passed, personal_binds
from mfbuild.local.sandbox.image_trees import StepImage, step_image
from mfbuild.local.sandbox.mounts import Bind
from mfbuild.local.sandbox.runtime_tree import LAUNCHER
from mfbuild.oci.types import Platform


@dataclass(frozen=True, slots=True)
class StepImages:
    """The images that tasks name, and what of this machine steps in them see.

    `steps` maps the name in a task's template to the step whose image it is; `binds` are files
    and folders. `network` says whether steps have the machine's.
    """

    bundle: Bundle
    store: Store
    platform: Platform
    steps: Mapping[str, str]
    toolbox: Path
    binds: tuple[Bind, ...]
    environ: Mapping[str, str]
    note: Callable[[str], None]
    network: bool = True
    _known: dict[str, StepImage] = field(default_factory=dict)
    _scratch: list[Path] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def launcher(self) -> str:
        """The launcher's script, which lies at the same path in every sandbox."""
        return str(self.toolbox / LAUNCHER)

    def environment(self, name: str) -> str:
        """What tells an image from those of other content."""
        return self._image(name).chain.hex[:16]

    def find(self, environment: str) -> tuple[str, StepImage]:
        """An image by its `environment`, with a step that has it."""
        name = next(name for name in self.steps if self.environment(name) == environment)
        return self.steps[name], self._image(name)

    def scratch(self) -> Path:
        """A new folder that nobody else can look into.

        `close` removes it; where this process is killed, the next that opens the store alone.
        """
        if not self._scratch:
            self._scratch.append(self._open.enter_context(self.store.temporary()))
        return Path(tempfile.mkdtemp(dir=self._scratch[0]))

    def close(self) -> None:
        """Remove all scratch folders."""
        self._open.close()
        self._scratch.clear()

    def variables(self, image: StepImage) -> dict[str, str]:
        """The environment of a launcher: the image's own, and what passes of the caller's."""
        own = dict(pair.split("=", 1) for pair in image.env)
        return {**passed(self.environ), "HOME": HOME, **own}

    def all_binds(self, scratch: Path) -> list[Bind]:
        """Everything of this machine that is seen in a sandbox.

        `/tmp` and the home are folders of `scratch`: on a disk, as in a container, and writable.
        """
        own = [Bind(str(self.toolbox))]
        for path, name in (("/tmp", "tmp"), (HOME, "home")):
            (scratch / name).mkdir()
            own.append(Bind(path, writable=True, source=str(scratch / name), holds=True))
        (scratch / "tmp").chmod(0o1777)
        return [*self.binds, *own, *machine_binds(), *personal_binds(self.environ)]

    def _image(self, name: str) -> StepImage:
        if name not in self._known:
            self._known[name] = step_image(self.bundle, self.steps[name], self.platform)
        return self._known[name]
