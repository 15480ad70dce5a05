"""An image's interpreter without any namespace: run through the image's own dynamic loader."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from mfbuild.errors import RunError
from mfbuild.local.sandbox.executor import IMAGE_PYTHON, LauncherStart

_LOADERS = ("lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1")
_LIBRARIES = ("lib", "usr/lib", "lib64", "usr/lib64")
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_ZONES = "usr/share/zoneinfo"
_NOTE = (
    "no namespaces are granted here: steps are run by their image's own loader, as you: "
    "nothing walls off this machine's files, processes, /tmp or the store"
)


def by_loader(tree: Path, folder: Path, launcher: str, env: Mapping[str, str]) -> LauncherStart:
    """How to start a launcher with the interpreter of `tree`; RunError if it has no loader.

    `folder` becomes a virtual environment like the image's, whose `python` is a script that
    starts the loader: so the interpreter finds its own packages, and a program that starts
    `sys.executable` again gets the same.
    """
    if not folder.is_dir():
        # Beside, and renamed: who finds the folder finds all of it.
        beside = folder.with_name(f".{folder.name}.{os.getpid()}")
        _make_environment(tree, beside, folder)
        with contextlib.suppress(OSError):  # another process was quicker
            beside.rename(folder)
        shutil.rmtree(beside, ignore_errors=True)
    python = str(folder / "bin/python")
    env = {**env, "VIRTUAL_ENV": str(folder), "PATH": f"{folder}/bin:{env.get('PATH', '')}"}
    # Programs of the image look for these below `/`, which is the machine's.
    if (tree / _CERTIFICATES).is_file():
        env.setdefault("SSL_CERT_FILE", str(tree / _CERTIFICATES))
    if (tree / _ZONES).is_dir():
        env.setdefault("PYTHONTZPATH", str(tree / _ZONES))
    return LauncherStart((python, launcher), env, python, note=_NOTE)


def _make_environment(tree: Path, folder: Path, final: Path) -> None:
    """Fill `folder`, which is going to be `final`."""
    interpreter = inside(tree, IMAGE_PYTHON)
    loader = next((inside(tree, name) for name in _LOADERS if (tree / name).exists()), None)
    if loader is None:
        raise RunError("the image has no dynamic loader", hint="run with `--in container`")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").symlink_to(tree / "opt/venv/lib")
    # `home` is where the interpreter looks for its standard library: in the image's tree.
    settings = (tree / "opt/venv/pyvenv.cfg").read_text()
    (folder / "pyvenv.cfg").write_text(settings.replace("home = /", f"home = {tree}/"))
    python = folder / "bin/python"
    # Without --argv0 `sys.executable` would be the loader.
    words = [
        str(loader),
        "--library-path",
        _library_path(tree),
        "--argv0",
        str(final / "bin/python"),
    ]
    python.write_text(f'#!/bin/sh\nexec {shlex.join([*words, str(interpreter)])} "$@"\n')
    python.chmod(0o755)
    for name in ("python3", interpreter.name):
        (folder / "bin" / name).symlink_to("python")


def _library_path(tree: Path) -> str:
    """The folders that the image's own ld.so.conf would name: the multiarch ones first."""
    roots = [inside(tree, name) for name in _LIBRARIES if (tree / name).exists()]
    multiarch = [path for root in roots for path in sorted(root.glob("*-linux-gnu"))]
    return ":".join(dict.fromkeys(str(path) for path in [*multiarch, *roots]))


def inside(tree: Path, path: str) -> Path:
    """Where `path` leads in an image whose root is `tree`: its links are those of the image."""
    found, waiting = tree, [part for part in path.split("/") if part]
    for _ in range(1000):
        if not waiting:
            return found
        part = waiting.pop(0)
        if part in (".", ".."):
            found = found.parent if part == ".." and found != tree else found
        elif (found / part).is_symlink():
            target = str((found / part).readlink())
            found = tree if target.startswith("/") else found
            waiting = [p for p in target.split("/") if p] + waiting
        else:
            found = found / part
    raise RunError(f"`{path}` leads nowhere in the image: its links go in a circle")
