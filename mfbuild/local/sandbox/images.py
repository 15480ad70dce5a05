"""The images of a run: which step's image a task names, and what every sandbox gives to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mfbuild.bundle.read import Bundle
from mfbuild.engine.store import Store
from mfbuild.local.sandbox.image_trees import StepImage, step_image
from mfbuild.local.sandbox.mounts import Bind
from mfbuild.local.sandbox.runtime_tree import LAUNCHER
from mfbuild.oci.types import Platform

_ALWAYS = ("/dev", "/sys", "/tmp")
_NETWORK = ("/etc/resolv.conf", "/etc/hosts")
# Settings that reach into a step as they would reach a pod of the person's own.
_PASSED = ("METAFLOW_", "MFBUILD_", "AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_")
_PASSED_NAMES = ("HOME", "USER", "LOGNAME", "TZ", "TERM")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_SETTINGS = (".metaflowconfig", ".aws", ".azure", ".config/gcloud")


@dataclass(frozen=True, slots=True)
class StepImages:
    """The images that tasks name, and what of this machine steps in them see.

    `steps` maps the name in a task's template to the step whose image it is; `binds` are files
    and folders; `scratch` is a folder of the run for what its sandbox needs.
    """

    bundle: Bundle
    store: Store
    platform: Platform
    steps: Mapping[str, str]
    toolbox: Path
    binds: tuple[Bind, ...]
    scratch: Path
    environ: Mapping[str, str]
    note: Callable[[str], None]
    _known: dict[str, StepImage] = field(default_factory=dict)

    @property
    def launcher(self) -> str:
        return str(self.toolbox / LAUNCHER)

    def environment(self, name: str) -> str:
        """What tells an image from those of other content."""
        return self._image(name).chain.hex[:16]

    def find(self, environment: str) -> tuple[str, StepImage]:
        """An image by its `environment`, with a step that has it."""
        name = next(name for name in self.steps if self.environment(name) == environment)
        return self.steps[name], self._image(name)

    def bytecode(self, image: StepImage) -> Path:
        """Where the bytecode of an image's modules is kept, as nobody can write to the image."""
        folder = self.store.root / "roots/pyc" / image.chain.hex
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def variables(self, image: StepImage) -> dict[str, str]:
        """The environment of a launcher: the image's own, and what the caller passes on."""
        found = passed(self.environ) | dict(pair.split("=", 1) for pair in image.env)
        return {**found, "PYTHONPYCACHEPREFIX": str(self.bytecode(image))}

    def all_binds(self, image: StepImage) -> list[Bind]:
        """Everything of this machine that is seen in a sandbox of `image`."""
        own = [Bind(str(self.bytecode(image)), writable=True), Bind(str(self.toolbox))]
        return [*self.binds, *own, *system_binds(self.environ)]

    def forget(self, run: Path) -> None:
        """Remove the bytecode of files of this `run`, which no other will have."""
        for folder in (self.store.root / "roots/pyc").glob("*"):
            shutil.rmtree(f"{folder}{run}", ignore_errors=True)

    def _image(self, name: str) -> StepImage:
        if name not in self._known:
            self._known[name] = step_image(self.bundle, self.steps[name], self.platform)
        return self._known[name]


def passed(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment a step sees, whatever its environment is."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_PASSED) or name in _PASSED_NAMES or name.lower() in _PROXIES
    }


def system_binds(environ: Mapping[str, str]) -> list[Bind]:
    """Devices, /tmp, name resolution, and the caller's own settings, as far as they are there."""
    binds = [Bind(path, writable=True) for path in _ALWAYS]
    binds += [Bind(p, source=os.path.realpath(p)) for p in _NETWORK if Path(p).exists()]
    if home := environ.get("HOME", ""):
        binds.append(Bind(home, source=""))
        settings = (f"{home}/{name}" for name in _SETTINGS)
        binds += [Bind(p, source=os.path.realpath(p)) for p in settings if Path(p).is_dir()]
    return binds
