"""`--in rootfs` (RootfsSandbox): steps run in their image, laid out in the store.

Preferably in namespaces of their own (namespaces.py), where the image's files are the only ones
but for a few folders; where the machine grants none, through the image's dynamic loader
(loader.py), among all files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mfbuild.engine.gc import SEALS
from mfbuild.engine.seal import is_sealed, seal
from mfbuild.engine.store import remove_tree
from mfbuild.local.sandbox.executor import IMAGE_PYTHON, NOT_POSSIBLE, LauncherStart
from mfbuild.local.sandbox.image_trees import StepImage, lay_out
from mfbuild.local.sandbox.images import StepImages
from mfbuild.local.sandbox.loader import by_loader
from mfbuild.local.sandbox.mounts import Bind, mounts_of

MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"),
    *("/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What no container is shown, and what none may change: the defaults of Docker and containerd."""

_NAMESPACES = Path(__file__).with_name("namespaces.py")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_ACCELERATORS = ("nvidia*", "dri", "kfd")
_COMPILE = """
import compileall, sys, sysconfig
for path in {sysconfig.get_path("stdlib"), *sys.path}:
    compileall.compile_dir(path, quiet=2, workers=0)
"""


@dataclass(frozen=True, slots=True)
class RootfsSandbox:
    """The Sandbox of laid out images."""

    images: StepImages

    def environment(self, image: str) -> str:
        return self.images.environment(image)

    def close(self) -> None:
        self.images.close()

    def launch(self, environment: str, variables: Mapping[str, str]) -> LauncherStart:
        images = self.images
        _, image = images.find(environment)
        tree = lay_out(images.store, images.bundle, image, images.note)
        self._compile(image, tree)
        env = {**images.variables(image), **variables}
        beside = images.store.root / "roots/loader" / image.chain.hex
        walls = self._ways(image, tree, [IMAGE_PYTHON, images.launcher], env, writes_code=False)
        if not images.network:
            return walls
        cached = {"PYTHONPYCACHEPREFIX": str(beside / "pyc"), **env}
        last = by_loader(tree, beside, images.launcher, cached)
        return _chained(walls, last)

    def _compile(self, image: StepImage, tree: Path) -> None:
        """Keep the bytecode of an image's modules, once: no step can write to the image.

        Nor to the bytecode: other runs have it as well. So it is made by a process that has
        nothing but the image. Where that is not possible steps compile what they import.
        """
        folder = self._bytecode(image)
        known = f"{tree.stat().st_ino}"
        done = folder / ".made-of"
        by = self.images.store.root / SEALS / f"pyc-{image.chain.hex}"
        if is_sealed(folder, by) and done.read_text() == known:
            os.utime(folder)  # what gc goes by
            return
        remove_tree(folder)  # Python would believe what is there by the mtime of its source
        folder.mkdir(parents=True)
        self.images.note("compiling the modules of an image")
        argv = [IMAGE_PYTHON, "-I", "-X", f"pycache_prefix={folder}", "-c", _COMPILE]
        env = dict(pair.split("=", 1) for pair in image.env)
        way: LauncherStart | None = self._ways(image, tree, argv, env, writes_code=True)
        while way:
            ended = subprocess.run(way.argv, env=dict(way.env), stdin=subprocess.DEVNULL)
            if ended.returncode == 0:
                done.write_text(known)
                seal(folder, by)
            way = way.otherwise if ended.returncode == NOT_POSSIBLE else None

    def _bytecode(self, image: StepImage) -> Path:
        return self.images.store.root / "roots/pyc" / image.chain.hex

    def _ways(
        self,
        image: StepImage,
        tree: Path,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        writes_code: bool,
    ) -> LauncherStart:
        """How to start `argv` with namespaces: as root without those for users, if possible."""
        code = self._bytecode(image)
        binds = [Bind(str(code), writable=writes_code)]
        scratch = self.images.scratch()
        if not writes_code:
            binds += self.images.all_binds(scratch)
        user, group = numbers(image.user)
        spec = {
            "mounts": [asdict(mount) for mount in mounts_of(tree, binds)],
            "devices": devices(),
            "argv": argv,
            "env": {"PYTHONPYCACHEPREFIX": str(code), **env},
            "cwd": "/",
            "user": user,
            "group": group,
            "network": self.images.network and not writes_code,
            "masked": MASKED,
            "read_only": READ_ONLY,
        }
        by_users = self._start(spec, scratch, users=True)
        if os.geteuid():
            return by_users
        return _chained(self._start(spec, scratch, users=False), by_users)

    def _start(self, spec: Mapping[str, object], scratch: Path, *, users: bool) -> LauncherStart:
        file = scratch / f"{'users' if users else 'root'}.json"
        file.touch(0o600)
        file.write_text(json.dumps({**spec, "users": users}))
        argv = (sys.executable, "-I", "-S", str(_NAMESPACES), str(file))
        return LauncherStart(argv, self.images.environ, IMAGE_PYTHON)


def _chained(first: LauncherStart, last: LauncherStart) -> LauncherStart:
    """`first`, and where none of its ways is possible `last`."""
    below = _chained(first.otherwise, last) if first.otherwise else last
    return replace(first, otherwise=below)


def devices() -> list[str]:
    """The machine's devices that a step has: those of every container, and accelerators."""
    found = [f"/dev/{name}" for name in _DEVICES]
    found += [
        path for pattern in _ACCELERATORS for path in sorted(map(str, Path("/dev").glob(pattern)))
    ]
    return [path for path in found if Path(path).exists()]


def numbers(user: str) -> tuple[int, int]:
    """The user and group of an image's `User`, where they are numbers; else those of nobody."""
    name, _, group = user.partition(":")
    number = int(name) if name.isdigit() else 65534
    return number, int(group) if group.isdigit() else number
