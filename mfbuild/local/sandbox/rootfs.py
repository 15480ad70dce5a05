"""`--in rootfs` (RootfsSandbox): steps run in their image, laid out in the store.

Preferably in namespaces of their own (namespaces.py), where the image's files are the only ones
but for a few folders; where the machine grants none, through the image's dynamic loader
(loader.py), among all files.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mfbuild.local.sandbox.executor import IMAGE_PYTHON, LauncherStart
from mfbuild.local.sandbox.image_trees import StepImage, lay_out
from mfbuild.local.sandbox.images import StepImages
from mfbuild.local.sandbox.loader import by_loader
from mfbuild.local.sandbox.mounts import mounts_of

_NAMESPACES = Path(__file__).with_name("namespaces.py")


@dataclass(frozen=True, slots=True)
class RootfsSandbox:
    """The Sandbox of laid out images."""

    images: StepImages

    def environment(self, image: str) -> str:
        return self.images.environment(image)

    def forget(self, run: Path) -> None:
        self.images.forget(run)

    def launch(self, environment: str) -> LauncherStart:
        images = self.images
        _, image = images.find(environment)
        tree = lay_out(images.store, images.bundle, image, images.note)
        env = images.variables(image)
        beside = images.store.root / "roots/loader" / image.chain.hex
        last = by_loader(tree, beside, images.launcher, env)
        mounts = [asdict(mount) for mount in mounts_of(tree, images.all_binds(image))]
        if os.geteuid() == 0:
            last = self._sandbox(mounts, image, env, users=False, otherwise=last)
        return self._sandbox(mounts, image, env, users=True, otherwise=last)

    def _sandbox(
        self,
        mounts: Sequence[Mapping[str, object]],
        image: StepImage,
        env: Mapping[str, str],
        *,
        users: bool,
        otherwise: LauncherStart,
    ) -> LauncherStart:
        user, group = numbers(image.user)
        spec = {
            "mounts": mounts,
            "argv": [IMAGE_PYTHON, self.images.launcher],
            "cwd": "/",
            "user": user,
            "group": group,
            "users": users,
        }
        scratch = self.images.scratch
        scratch.mkdir(parents=True, exist_ok=True)
        file = scratch / f"{image.chain.hex[:16]}-{'users' if users else 'root'}.json"
        file.write_text(json.dumps(spec))
        argv = (sys.executable, "-I", "-S", str(_NAMESPACES), str(file))
        return LauncherStart(argv, env, IMAGE_PYTHON, otherwise)


def numbers(user: str) -> tuple[int, int]:
    """The user and group of an image's `User`, where they are numbers; else those of nobody."""
    name, _, group = user.partition(":")
    number = int(name) if name.isdigit() else 65534
    return number, int(group) if group.isdigit() else number
