"""images/python3.11 as it is locked: its packages are downloaded, merged and run."""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from mfbuild.bases.folder import load_base
from mfbuild.bases.lock import lock_images
from mfbuild.bases.model import Base
from mfbuild.debian.apt import mirrors
from mfbuild.debian.fetch import deb_fetcher
from mfbuild.debian.index import latest
from mfbuild.debian.model import LockedDeb
from mfbuild.engine.model import Blob, Digest, Source
from mfbuild.errors import FetchError, UsageError
from mfbuild.http.client import HttpClient
from mfbuild.http.trust import Trust
from mfbuild.oci.types import ForeignBase, Platform
from tests.debs import Merged, merge
from tests.elf import Dynamic, read_dynamic

IMAGE = "python3.11"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

# Debian keeps Tk, its users and pip's installer apart; the rest is for other systems.
LEFT_OUT = {"_tkinter", "ensurepip", "idlelib", "tkinter", "turtle", "turtledemo"}
OTHER_SYSTEMS = {
    *("_msi", "_overlapped", "_scproxy", "_winapi", "msilib"),
    *("msvcrt", "nt", "winreg", "winsound"),
}

PROGRAM = """
import datetime, importlib, json, os, sqlite3, ssl, sys, warnings, zoneinfo
warnings.simplefilter("ignore")
missing = {}
for name in sorted(sys.stdlib_module_names - {"antigravity", "this"}):
    try:
        importlib.import_module(name)
    except ImportError as error:
        missing[name] = str(error)
print(json.dumps({
    "version": sys.version_info[:2],
    "missing": missing,
    "roots": len(ssl.create_default_context().get_ca_certs()),
    "sqlite": sqlite3.connect(":memory:").execute("select 6 * 7").fetchone()[0],
    "time": datetime.datetime(2024, 1, 1, 9, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")).timestamp(),
    "ids": [os.getuid(), os.getgid()],
}))
"""


@pytest.fixture(scope="session")
def downloads(request: pytest.FixtureRequest) -> Path:
    """A folder for packages that outlives the test run."""
    if given := os.environ.get("MFBUILD_TEST_CACHE"):
        folder = Path(given) / "debs"
    else:
        cache = request.config.cache
        assert cache is not None
        folder = cache.mkdir("debs")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def images(downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Merged]:
    """The merged image per architecture; renewed packages where the locked ones have vanished."""
    try:
        mirrors(os.environ)
    except UsageError as error:
        pytest.skip(str(error))
    platforms = [Platform("linux", architecture) for architecture in TRIPLETS]
    workspace = tmp_path_factory.mktemp("workspace")
    base = load_base(IMAGE, workspace, platforms)
    try:
        files = {p.architecture: packages(base, p, downloads) for p in platforms}
    except FetchError as error:
        if "no longer on the Debian mirror" not in str(error):
            raise
        newest = partial(latest, HttpClient(Trust(os.environ)), mirrors(os.environ))
        lock_images([IMAGE], workspace, platforms, latest=newest, foreign=no_foreign)
        base = load_base(IMAGE, workspace, platforms)
        files = {p.architecture: packages(base, p, downloads) for p in platforms}
    return {
        architecture: merge(
            tmp_path_factory.mktemp(architecture), *found, architecture=architecture, user=base.user
        )
        for architecture, found in files.items()
    }


def no_foreign(reference: str, platforms: object) -> dict[Platform, ForeignBase]:
    raise AssertionError(f"`{reference}` is not of Debian packages")


def packages(base: Base, platform: Platform, downloads: Path) -> list[Path]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(partial(download, downloads), base.debs[platform]))


def download(folder: Path, deb: LockedDeb) -> Path:
    path, digest = folder / deb.path.rpartition("/")[2], Digest(deb.sha256)
    if not path.exists() or Digest.of(path.read_bytes()) != digest:
        begun = path.with_name(f"{path.name}.{os.getpid()}")
        source = Source(Blob(digest, deb.size), f"deb:{deb.archive}/{deb.path}")
        deb_fetcher(os.environ)(source, begun, lambda n: None)
        assert Digest.of(begun.read_bytes()) == digest
        begun.replace(path)
    return path


class Root:
    """The files of a layer, found through its symlinks as the kernel would."""

    def __init__(self, merged: Merged) -> None:
        self.entries = merged.entries
        self.files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(merged.layer)) as archive:
            for info in archive:
                if content := archive.extractfile(info) if info.isreg() else None:
                    self.files[info.name] = content.read()

    def resolve(self, path: str) -> str | None:
        """The entry that `path` leads to, or None."""
        done: list[str] = []
        left = list(PurePosixPath(path.lstrip("/")).parts)
        for _ in range(200):
            if not left:
                return "/".join(done)
            part = left.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            info = self.entries.get("/".join([*done, part]))
            if not info:
                return None
            if not info.issym():
                done.append(part)
                continue
            target = PurePosixPath(info.linkname)
            if target.is_absolute():
                done, target = [], target.relative_to("/")
            left = [*target.parts, *left]
        return None

    def unmet(self, path: str, dynamic: Dynamic, triplet: str) -> list[str]:
        """The libraries that the loader would not find for the file at `path`."""
        origin = path.rpartition("/")[0]
        folders = [folder.replace("$ORIGIN", origin) for folder in dynamic.search]
        folders += [f"lib/{triplet}", f"usr/lib/{triplet}", "lib", "usr/lib"]
        return [
            name
            for name in dynamic.needed
            if not any(self.resolve(f"{folder}/{name}") for folder in folders)
        ]


@pytest.mark.parametrize("architecture", sorted(TRIPLETS))
def test_every_elf_file_finds_its_libraries(images: dict[str, Merged], architecture: str) -> None:
    root = Root(images[architecture])
    found = {path: d for path, data in root.files.items() if (d := read_dynamic(data))}
    assert len(found) > 300
    unmet = {
        path: names
        for path, dynamic in found.items()
        if (names := root.unmet(path, dynamic, TRIPLETS[architecture]))
    }
    assert unmet == {}
    loaders = {d.interpreter for d in found.values() if d.interpreter}
    assert len(loaders) == 1
    assert root.resolve(loaders.pop()) in root.files


@pytest.mark.parametrize("architecture", sorted(TRIPLETS))
def test_every_link_leads_somewhere(images: dict[str, Merged], architecture: str) -> None:
    root = Root(images[architecture])
    links = [path for path, info in root.entries.items() if info.issym()]
    assert [path for path in links if root.resolve(path) is None] == []
    assert root.resolve("/bin/python3.11") == "usr/bin/python3.11"
    assert root.resolve("/etc/os-release") == "usr/lib/os-release"


def test_there_is_no_shell_and_no_set_id_file(images: dict[str, Merged]) -> None:
    for merged in images.values():
        entries = merged.entries
        assert not {"usr/bin/sh", "usr/bin/bash", "usr/bin/dash"} & entries.keys()
        assert [path for path, info in entries.items() if info.mode & 0o6000] == []


def test_both_architectures_hold_the_same_packages(images: dict[str, Merged]) -> None:
    folder = "var/lib/dpkg/status.d/"
    amd64, arm64 = ({p for p in m.entries if p.startswith(folder)} for m in images.values())
    assert amd64 == arm64 != set()


@pytest.fixture(scope="session")
def root(images: dict[str, Merged], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image for this machine, unpacked."""
    architecture = MACHINES.get(platform.machine(), "")
    if sys.platform != "linux" or architecture not in images:
        pytest.skip("the image is not one for this machine")
    root = tmp_path_factory.mktemp("root")
    with tarfile.open(fileobj=io.BytesIO(images[architecture].layer)) as archive:
        # An attribute: Python before 3.11.4 does not know the parameter.
        archive.extraction_filter = lambda member, path: member
        archive.extractall(root)
    root.chmod(0o755)
    return root


def test_its_python_runs_with_the_whole_standard_library(root: Path) -> None:
    """In a chroot as the image's user where this is root, else by the image's own loader."""
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    ids = [65532, 65532]
    command = ["chroot", "--userspec=65532:65532", str(root), "/usr/bin/python3.11"]
    if os.geteuid() != 0:
        ids = [os.getuid(), os.getgid()]
        (loader,) = root.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*")
        command = [str(loader), "--library-path", str(loader.parent), f"{root}/usr/bin/python3.11"]
        env["PYTHONTZPATH"] = f"{root}/usr/share/zoneinfo"
        env["SSL_CERT_FILE"] = f"{root}/etc/ssl/certs/ca-certificates.crt"
    command += ["-s", "-c", PROGRAM]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("missing").keys() == LEFT_OUT | OTHER_SYSTEMS
    assert found.pop("roots") > 100
    assert found == {"version": [3, 11], "sqlite": 42, "time": 1704067200.0, "ids": ids}
