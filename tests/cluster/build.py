"""The engine's programs: built from Go modules once, and kept by the digest of what they come from.

`python -m tests.cluster.build` builds what is not in the cache, about seven minutes on two cores.
The cache is $MFBUILD_TEST_CACHE, else `mfbuild-test` in $XDG_CACHE_HOME.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

SOURCES = Path(__file__).with_name("go")
MODULES: Mapping[str, tuple[str, ...]] = {
    "pods": ("kubelet-expand",),
    "gcs": ("fake-gcs-server",),
    "s3": ("versitygw",),
    "flyte": ("flyteworkflow", "flytepropeller", "container"),
    "kubernetes": ("kube-apiserver", "kube-scheduler", "kubelet"),
}
"""The programs of each Go module of `go/`."""

COMMANDS: Mapping[str, str] = {
    "containerd": "containerd",
    "docker-registry": "docker-registry",
    "etcd": "etcd-server",
    "openssl": "openssl",
    "runc": "runc",
    "skopeo": "skopeo",
}
"""What the engine takes from Debian: command, package."""

GO = (1, 26)
AZURITE = "azurite@3.37.0"
"""A package of npm, which no test but its own needs."""

BUILD = ("go", "build", "-buildvcs=false", "-ldflags=-s -w")
# Read at import, because the tests give themselves a HOME of their own.
CACHE = Path(
    os.environ.get("MFBUILD_TEST_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mfbuild-test"
)
SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/go/bin:/usr/sbin:/sbin"


def program(name: str) -> Path:
    """Where the program `name` of a Go module is, or will be once it is built."""
    (module,) = (module for module, programs in MODULES.items() if name in programs)
    return _folder(module) / name


def command(name: str) -> str:
    """The path of a command of Debian; FileNotFoundError if it is not installed."""
    if found := shutil.which(name, path=SEARCH):
        return found
    raise FileNotFoundError(f"`{name}` is not installed (Debian's {COMMANDS[name]} has it)")


def azurite() -> Path:
    """Where Microsoft's server of Azure blobs is, or will be once npm has installed it."""
    return CACHE / AZURITE / "node_modules/.bin/azurite-blob"


def missing() -> list[str]:
    """What this machine lacks to run the engine, a phrase each; nothing if it can be started."""
    return [*_missing_from_machine(), *(f"{name} (not built)" for name in unbuilt())]


def unbuilt() -> list[str]:
    """The programs that are not in the cache."""
    names = [name for programs in MODULES.values() for name in programs]
    return [name for name in names if not program(name).exists()]


def has_go() -> bool:
    """Whether there is a Go that can build the modules; from 1.21 on it fetches what they need."""
    go = shutil.which("go", path=SEARCH)
    if go is None:
        return False
    # In a module's folder it is the version that this module gets.
    said = subprocess.run(
        [go, "version"], cwd=SOURCES / "s3", env=_environ(), capture_output=True, text=True
    )
    found = re.search(r"go(\d+)\.(\d+)", said.stdout)
    return found is not None and tuple(map(int, found.groups())) >= GO


def build() -> None:
    """Build each module that is not in the cache; SystemExit with Go's words where it cannot."""
    for module in MODULES:
        if not _folder(module).exists():
            _say(f"building {', '.join(MODULES[module])}")
            _build(module, _folder(module))


def _build(module: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{module}-") as scratch:
        out = Path(scratch) / "out"
        out.mkdir()
        # `tool` stands for what go.mod names as tools, in a module with no command of its own.
        own = any((SOURCES / module).glob("*/main.go"))
        done = subprocess.run(
            [*BUILD, "-o", out, "./..." if own else "tool"],
            cwd=SOURCES / module,
            env=_environ(),
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"cluster: Go cannot build {module}:\n{done.stderr}")
        out.rename(folder)


def install_azurite() -> None:
    """Install it if it is not there; SystemExit with npm's words where that fails."""
    if azurite().exists():
        return
    _say(f"installing {AZURITE}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=f".{AZURITE}-") as scratch:
        out = Path(scratch) / "out"
        done = subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--prefix", out, AZURITE],
            env=_environ(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"cluster: npm cannot install {AZURITE}:\n{done.stderr}")
        out.rename(CACHE / AZURITE)


def _environ() -> dict[str, str]:
    return {**os.environ, "PATH": SEARCH, "CGO_ENABLED": "0"}


def _folder(module: str) -> Path:
    digest = hashlib.sha256(repr([BUILD, platform.machine()]).encode())
    for path in sorted(p for p in (SOURCES / module).rglob("*") if p.is_file()):
        name = str(path.relative_to(SOURCES / module))
        digest.update(f"{len(name)} {name} {path.stat().st_size} ".encode() + path.read_bytes())
    return CACHE / f"{module}-{digest.hexdigest()[:16]}"


def _missing_from_machine() -> Iterator[str]:
    if sys.platform != "linux":
        yield "Linux"
    elif os.geteuid() != 0:
        yield "root"
    elif subprocess.run(["unshare", "--pid", "--fork", "--mount", "true"]).returncode:
        yield "namespaces, which root lacks in some containers"
    for name, package in COMMANDS.items():
        if not shutil.which(name, path=SEARCH):
            yield f"{name} (Debian's {package})"


def _say(text: str) -> None:
    sys.stderr.write(f"cluster: {text}\n")


def main() -> None:
    """Build, and say what is missing; with --commands, print what the engine takes from Debian."""
    if sys.argv[1:] == ["--commands"]:
        sys.stdout.write(" ".join(f"{name}:{package}" for name, package in COMMANDS.items()))
        return
    if not unbuilt() or has_go():
        build()
    else:
        _say(f"NOT BUILT: Go {'.'.join(map(str, GO))} or newer is needed")
    if azurite().exists() or shutil.which("npm", path=SEARCH):
        install_azurite()
    else:
        _say(f"NOT RUN: the tests of Azure's storage, for want of npm, to install {AZURITE}")
    if lacks := missing():
        _say(f"NOT RUN: the tests on the engine, for want of {', '.join(lacks)}")


if __name__ == "__main__":
    main()
