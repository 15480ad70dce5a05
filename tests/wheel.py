"""The wheel of this checkout in an environment of its own, which takes the rest from this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SOURCES = ("mfbuild", "build_rules", "images", "metaflow_extensions")
_FILES = ("pyproject.toml", "README.md", "LICENSE")
_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def copy_sources(folder: Path) -> Path:
    """What a build reads of the checkout, in `folder`: without what older builds have left."""
    for name in _SOURCES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in _FILES:
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def build_sdist(sources: Path, folder: Path) -> Path:
    """The sdist of `sources`, unpacked below `folder`; its folder."""
    folder.mkdir()
    _run(sys.executable, "-c", _SDIST, str(folder), cwd=sources)
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def build_wheel(sources: Path, folder: Path) -> Path:
    """The wheel of `sources`, in `folder`; nothing is downloaded."""
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder))
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", *options, ".", cwd=sources)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """A new environment that has `wheel`, and finds all else in this one; its python.

    This one's own mfbuild is found through a `.pth` file, which the new one does not read.
    """
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment), cwd=ROOT)
    python = environment / "bin/python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(_run(str(python), "-c", where, cwd=environment).strip())
    (packages / "zz-development.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet")
    _run(*pip, "--no-deps", "--no-index", str(wheel), cwd=environment)
    return python


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel but the list of them."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
        return {name: archive.read(name) for name in names}


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
