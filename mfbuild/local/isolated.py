"""`--in rootfs`: steps run in their image, laid out in the store, with its interpreter and libc.

Preferably in namespaces of their own, where the image's files are the only ones but for a few
folders; where the machine grants none, through the image's dynamic loader, among all files.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mfbuild.bundle.read import Bundle
from mfbuild.engine.store import Store
from mfbuild.local.executor import IMAGE_PYTHON, Launch
from mfbuild.local.loader import by_loader
from mfbuild.local.mounts import Bind, plan
from mfbuild.local.rootfs import StepImage, lay_out, step_image
from mfbuild.local.toolbox import LAUNCHER
from mfbuild.oci.types import Platform

RUNTIME = "opt/venv/lib/python*/site-packages/mfbuild_runtime"
_SANDBOX = Path(__file__).with_name("sandbox.py")
_ALWAYS = ("/dev", "/sys", "/tmp")
_NETWORK = ("/etc/resolv.conf", "/etc/hosts")
# Settings that reach into a step as they would reach a pod of the person's own.
_PASSED = ("METAFLOW_", "AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "OTEL_", "NVIDIA_", "CUDA_")
_PASSED_NAMES = ("USER", "LOGNAME", "TZ", "TERM", "http_proxy", "https_proxy", "no_proxy")
_SETTINGS = (".metaflowconfig", ".aws", ".azure", ".config/gcloud")


@dataclass(frozen=True, slots=True)
class Isolated:
    """The Place of laid out images.

    `images` maps the name in a task's template to the step whose image it is; `binds` are what
    every step sees of this machine; `scratch` is a folder of the run for what a place needs.
    """

    bundle: Bundle
    store: Store
    platform: Platform
    images: Mapping[str, str]
    toolbox: Path
    binds: tuple[Bind, ...]
    scratch: Path
    environ: Mapping[str, str]
    note: Callable[[str], None]

    def environment(self, image: str) -> str:
        return self._image(image).chain.hex[:16]

    def launch(self, environment: str) -> Launch:
        image = next(
            found
            for name in self.images
            if (found := self._image(name)).chain.hex[:16] == environment
        )
        tree = lay_out(self.store, self.bundle, image, self.note)
        bytecode = self.store.root / "roots/pyc" / image.chain.hex
        bytecode.mkdir(parents=True, exist_ok=True)
        env = self._environment(image, tree, bytecode)
        beside = self.store.root / "roots/loader" / image.chain.hex
        fallback = by_loader(tree, beside, self.toolbox / LAUNCHER, env)
        binds = [*self.binds, Bind(str(bytecode), writable=True), Bind(str(self.toolbox))]
        mounts = [asdict(m) for m in plan(tree, [*binds, *system_binds(self.environ)])]
        last = self._sandbox(mounts, image, env, users=False, otherwise=fallback)
        if os.geteuid() != 0:
            last = fallback
        return self._sandbox(mounts, image, env, users=True, otherwise=last)

    def close(self, run: Path) -> None:
        """Forget the bytecode of files of this `run`, which no other will have."""
        for folder in (self.store.root / "roots/pyc").glob("*"):
            shutil.rmtree(f"{folder}{run}", ignore_errors=True)

    def _image(self, name: str) -> StepImage:
        return step_image(self.bundle, self.images[name], self.platform)

    def _environment(self, image: StepImage, tree: Path, bytecode: Path) -> dict[str, str]:
        env = passed(self.environ) | dict(pair.split("=", 1) for pair in image.env)
        env["PYTHONPYCACHEPREFIX"] = str(bytecode)
        if not any(tree.glob(RUNTIME)):
            env["PYTHONPATH"] = str(self.toolbox / "lib")
        return env

    def _sandbox(
        self,
        mounts: Sequence[Mapping[str, object]],
        image: StepImage,
        env: Mapping[str, str],
        *,
        users: bool,
        otherwise: Launch,
    ) -> Launch:
        user, group = numbers(image.user)
        spec = {
            "mounts": mounts,
            "argv": [IMAGE_PYTHON, str(self.toolbox / LAUNCHER)],
            "cwd": "/",
            "user": user,
            "group": group,
            "users": users,
        }
        self.scratch.mkdir(parents=True, exist_ok=True)
        file = self.scratch / f"{image.chain.hex[:16]}-{'users' if users else 'root'}.json"
        file.write_text(json.dumps(spec))
        argv = (sys.executable, "-I", "-S", str(_SANDBOX), str(file))
        return Launch(argv, env, IMAGE_PYTHON, otherwise)


def numbers(user: str) -> tuple[int, int]:
    """The user and group of an image's `User`, where they are numbers; else those of nobody."""
    name, _, group = user.partition(":")
    number = int(name) if name.isdigit() else 65534
    return number, int(group) if group.isdigit() else number


def passed(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment a step sees, whatever its environment is."""
    names = [n for n in environ if n.startswith(_PASSED) or n.lower() in _PASSED_NAMES]
    names += [n for n in _PASSED_NAMES if n in environ]
    return {name: environ[name] for name in sorted({*names, "HOME"} & environ.keys())}


def system_binds(environ: Mapping[str, str]) -> list[Bind]:
    """Devices, /tmp, name resolution, and the caller's own settings, as far as they are there."""
    binds = [Bind(path, writable=True) for path in _ALWAYS]
    binds += [Bind(p, source=os.path.realpath(p)) for p in _NETWORK if Path(p).exists()]
    if home := environ.get("HOME", ""):
        binds.append(Bind(home, source=""))
        settings = (f"{home}/{name}" for name in _SETTINGS)
        binds += [Bind(p, source=os.path.realpath(p)) for p in settings if Path(p).is_dir()]
    return binds
