"""`--in container`: steps run in the real image, by Docker, Podman or runc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfbuild.errors import RunError, UsageError
from mfbuild.local.sandbox.executor import IMAGE_PYTHON, LauncherStart
from mfbuild.local.sandbox.image_trees import lay_out
from mfbuild.local.sandbox.images import StepImages
from mfbuild.local.sandbox.mounts import Bind, Mount, mounts_of
from mfbuild.local.sandbox.rootfs import MASKED, READ_ONLY
from mfbuild.oci.archive import docker_archive, docker_images, image_name

_OF_THE_ENGINE = ("/sys", "/etc/resolv.conf", "/etc/hosts")
_OF_THE_IMAGE = ("PATH",)


def containers(images: StepImages, path: str) -> Engine | Runc:
    """The first engine on `path` that answers: Docker, Podman, runc; UsageError if none does."""
    for name in ("docker", "podman"):
        if (engine := shutil.which(name, path=path)) and _answers(engine):
            return Engine(images, engine)
    if program := shutil.which("runc", path=path):
        return Runc(images, program)
    raise UsageError(
        "no container engine answers: Docker, Podman and runc were tried",
        hint="use `--in rootfs`, or `--in host` for your own packages",
    )


def _answers(engine: str) -> bool:
    return subprocess.run([engine, "info"], capture_output=True).returncode == 0


@dataclass(frozen=True, slots=True)
class Engine:
    """The Sandbox of containers by Docker or Podman; each image is loaded once."""

    images: StepImages
    engine: str

    def environment(self, image: str) -> str:
        return self.images.environment(image)

    def close(self) -> None:
        self.images.close()

    def launch(self, environment: str, variables: Mapping[str, str]) -> LauncherStart:
        step, image = self.images.find(environment)
        manifest = self.images.bundle.manifest
        name = image_name(manifest.flow, manifest.version, step)
        self._load(step, name)
        found = {**self.images.variables(image), **variables}
        env = {n: v for n, v in found.items() if n in variables or n not in _OF_THE_IMAGE}
        network = "host" if self.images.network else "none"
        words = [self.engine, "run", "--rm", "-i", f"--network={network}", *self._user()]
        words.append("--security-opt=no-new-privileges")
        for bind in self.images.all_binds(self.images.scratch()):
            words += _volume(bind)
        # By name alone: values would be on the command line, for everybody to see.
        words += [word for variable in sorted(env) for word in ("-e", variable)]
        words += ["--entrypoint", IMAGE_PYTHON, name, self.images.launcher]
        return LauncherStart(tuple(words), {**self.images.environ, **env}, IMAGE_PYTHON)

    def _user(self) -> list[str]:
        """Files that steps write are the caller's."""
        user = f"--user={os.geteuid()}:{os.getegid()}"
        return (
            ["--userns=keep-id", user]
            if self.engine.endswith("podman") and os.geteuid()
            else [user]
        )

    def _load(self, step: str, name: str) -> None:
        known = subprocess.run([self.engine, "image", "inspect", name], capture_output=True)
        if known.returncode == 0:
            return
        self.images.note(f"loading the image of `{step}` into {Path(self.engine).name}")
        bundle = self.images.bundle
        index = bundle.manifest.steps[step].image.digest
        wanted = docker_images(bundle.layout, {index: [name]}, self.images.platform)
        _feed([self.engine, "load"], docker_archive(bundle.layout, wanted))


def _volume(bind: Bind) -> list[str]:
    if bind.path in _OF_THE_ENGINE:
        return []
    return ["-v", f"{bind.source or bind.path}:{bind.path}{'' if bind.writable else ':ro'}"]


def _feed(command: list[str], chunks: Iterable[bytes]) -> None:
    """Run a command that reads `chunks`; RunError with what it says if it fails."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    try:
        for chunk in chunks:
            process.stdin.write(chunk)
    except BrokenPipeError:
        pass  # it says why
    _, said = process.communicate()
    if process.returncode:
        raise RunError(f"`{' '.join(command)}` failed: {said.decode(errors='replace').strip()}")


@dataclass(frozen=True, slots=True)
class Runc:
    """The Sandbox of containers by runc, over the images that are laid out in the store."""

    images: StepImages
    program: str

    def environment(self, image: str) -> str:
        return self.images.environment(image)

    def close(self) -> None:
        self.images.close()

    def launch(self, environment: str, variables: Mapping[str, str]) -> LauncherStart:
        _, image = self.images.find(environment)
        tree = lay_out(self.images.store, self.images.bundle, image, self.images.note)
        name = f"mfbuild-{environment}-{os.urandom(4).hex()}"
        folder = self.images.scratch()
        mounts = mounts_of(tree, self.images.all_binds(folder))
        _make_root(folder / "root", mounts)
        env = {**self.images.variables(image), **variables}
        config = runtime_config(mounts, env, self.images.launcher, network=self.images.network)
        file = folder / "config.json"
        file.touch(0o600)  # it has values of variables
        file.write_text(json.dumps(config))
        argv = (self.program, "--root", f"{folder}/state", "run", "--bundle", str(folder), name)
        return LauncherStart(argv, dict(self.images.environ), IMAGE_PYTHON)


def _make_root(root: Path, mounts: Iterable[Mount]) -> None:
    """The places of the mounts. runc would make them itself, but inside what is mounted there."""
    root.mkdir(parents=True)
    for name in ("proc", "dev"):
        (root / name).mkdir()
    for mount in mounts:
        path = Path(mount.place or f"{root}{mount.path}")
        if mount.kind == "link":
            path.symlink_to(mount.source)
        elif mount.is_directory:
            path.mkdir(exist_ok=True)
        else:
            path.touch()


def runtime_config(
    mounts: Iterable[Mount], env: dict[str, str], launcher: str, *, network: bool
) -> dict[str, Any]:
    """The config.json of the OCI runtime-spec for a launcher.

    Inside, the caller is root, without any of root's capabilities: whatever steps write is the
    caller's outside. The umask is the caller's, as everywhere else; runc's own default is not.
    """
    user = os.geteuid()
    kinds = ("pid", "mount", "ipc", *(() if network else ("network",)))
    namespaces = [{"type": kind} for kind in kinds]
    mapping = [] if user == 0 else [{"containerID": 0, "hostID": user, "size": 1}]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0, "umask": _umask()},
            "args": [IMAGE_PYTHON, launcher],
            "env": [f"{name}={value}" for name, value in sorted(env.items())],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "root": {"path": "root", "readonly": True},
        "mounts": [
            *_own_mounts(),
            *(
                {
                    "destination": mount.path,
                    "type": "none",
                    "source": mount.source,
                    "options": ["rbind", "rw" if mount.writable else "ro"],
                }
                for mount in mounts
                if mount.kind == "bind"
            ),
        ],
        "linux": {
            "namespaces": namespaces + ([{"type": "user"}] if mapping else []),
            "uidMappings": mapping,
            "gidMappings": [{**m, "hostID": os.getegid()} for m in mapping],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
        },
    }


def _own_mounts() -> Iterator[dict[str, Any]]:
    """What the runtime-spec lets every container on Linux have: processes, devices, memory."""
    for path, kind, options in (
        ("/proc", "proc", []),
        ("/dev", "tmpfs", ["nosuid", "mode=755"]),
        ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777"]),
        ("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ):
        yield {"destination": path, "type": kind, "source": kind, "options": options}


def _umask() -> int:
    """The umask of this process, which can only be read by setting one."""
    found = os.umask(0o077)
    os.umask(found)
    return found
