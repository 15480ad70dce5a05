"""Debian packages for tests, a mirror of them on the loopback, and a run of `debian.layer`."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import ssl
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import format_datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

from mfbuild.debian.layer import run
from mfbuild.engine.model import Blob, Digest, Work
from tests.servers import Handler, serving


@dataclass(frozen=True)
class Item:
    """An entry of a package's archive; `kind` is its tar type."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    target: str = ""


directory = partial(Item, kind=tarfile.DIRTYPE, mode=0o755)
symlink = partial(Item, kind=tarfile.SYMTYPE, mode=0o777)
hardlink = partial(Item, kind=tarfile.LNKTYPE)


@dataclass(frozen=True)
class Package:
    """A binary package by name and bytes."""

    name: str
    version: str
    architecture: str
    data: bytes

    @property
    def path(self) -> str:
        return f"pool/main/{self.name}_{self.version}_{self.architecture}.deb"

    @property
    def stanza(self) -> str:
        """Its paragraph in an index."""
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": self.architecture,
            "Filename": self.path,
            "Size": len(self.data),
            "SHA256": sha256(self.data).hexdigest(),
        }
        return "".join(f"{key}: {value}\n" for key, value in fields.items())


def deb(
    name: str,
    *items: Item,
    version: str = "1.0",
    architecture: str = "amd64",
    suffix: str = ".xz",
    archive: bytes | None = None,
) -> Package:
    """A package; `archive` takes the place of the (not yet compressed) archive of `items`."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
    data = ar(
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", compressed(tar([Item("./control", control.encode())]), ".xz")),
        (f"data.tar{suffix}", compressed(tar(items) if archive is None else archive, suffix)),
    )
    return Package(name, version, architecture, data)


def compressed(data: bytes, suffix: str) -> bytes:
    if suffix == ".xz":
        return lzma.compress(data, preset=0)
    return gzip.compress(data, mtime=0) if suffix == ".gz" else data


def ar(*members: tuple[str, bytes]) -> bytes:
    """An ar archive of (name, content), as dpkg-deb writes it."""
    parts = [b"!<arch>\n"]
    for name, data in members:
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


def tar(items: Iterable[Item]) -> bytes:
    """A tar archive whose entries belong to somebody and have a time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for item in items:
            info = tarfile.TarInfo(item.path)
            info.type, info.mode, info.linkname = item.kind, item.mode, item.target
            info.size = len(item.content)
            info.mtime, info.uid, info.gid = 1_700_000_000, 8, 50
            archive.addfile(info, io.BytesIO(item.content))
    return out.getvalue()


# A mirror.


@dataclass
class MirrorServer:
    """Files by path, and what was asked for.

    `faults` maps a path to the answers that come before the file itself: a status, or `cut`, where
    the connection ends in the middle of the content. With `redirect`, every answer is one to the
    same path of that URL.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    redirect: str = ""

    def publish(
        self,
        suite: str,
        *packages: Package,
        architectures: Sequence[str] = ("amd64",),
        fields: Mapping[str, str] = {},
    ) -> bytes:
        """Serve the packages, and an unsigned suite of them; its InRelease.

        `fields` take the place of what the release file says; an empty one is left out.
        """
        archive = "debian-security" if suite.endswith("-security") else "debian"
        lines = []
        for architecture in architectures:
            known = (architecture, "all")
            text = "\n".join(p.stanza for p in packages if p.architecture in known)
            data = lzma.compress(text.encode())
            digest = sha256(data).hexdigest()
            folder = f"main/binary-{architecture}"
            lines.append(f" {digest} {len(data)} {folder}/Packages.xz\n")
            self.files[f"{archive}/dists/{suite}/{folder}/by-hash/SHA256/{digest}"] = data
        said = {
            "Suite": suite.replace("bookworm", "oldstable"),
            "Codename": suite,
            "Date": format_datetime(datetime.now(timezone.utc)),
            "Architectures": " ".join(architectures),
            "Acquire-By-Hash": "yes",
            "SHA256": "\n" + "".join(lines).rstrip("\n"),
            **fields,
        }
        release = "".join(f"{name}: {value}\n" for name, value in said.items() if value).encode()
        self.files[f"{archive}/dists/{suite}/InRelease"] = release
        self.files |= {f"{archive}/{p.path}": p.data for p in packages}
        return release


@contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Iterator[MirrorServer]:
    """An empty mirror, until the block ends."""

    class Connection(_Handler):
        pass

    with serving(Connection, tls) as host:
        Connection.mirror = MirrorServer(f"{'https' if tls else 'http'}://{host}")
        yield Connection.mirror


class _Handler(Handler):
    mirror: MirrorServer

    def do_GET(self) -> None:
        mirror = self.mirror
        path = unquote(self.path).lstrip("/")
        mirror.asked.append(path)
        faults = mirror.faults.get(path)
        fault = faults.pop(0) if faults else 200
        data = mirror.files.get(path)
        if mirror.redirect:
            self.send_response(302)
            self.send_header("Location", f"{mirror.redirect}/{path}")
            self.end_headers()
            return
        status = 404 if data is None else fault if isinstance(fault, int) else 200
        body = data if data is not None and status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)


# A layer.


@dataclass(frozen=True)
class _Input:
    blob: Blob
    file: Path

    def path(self) -> Path:
        return self.file

    def chunks(self) -> Iterator[bytes]:
        yield self.read()

    def read(self) -> bytes:
        return self.file.read_bytes()


@dataclass(frozen=True)
class Merged:
    """The outputs of `debian.layer`; `layer` is the tar, unpacked."""

    info: dict[str, str]
    layer: bytes
    paths: str
    gzipped: bytes

    @property
    def entries(self) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.layer)) as archive:
            return {info.name: info for info in archive}

    def read(self, path: str) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(self.layer)) as archive:
            content = archive.extractfile(path)
            assert content, path
            return content.read()


def merge(
    folder: Path,
    *files: Path | Package,
    architecture: str = "amd64",
    user: str = "65532:65532",
) -> Merged:
    """Run `debian.layer` on packages, in the empty or missing `folder`."""
    inputs = {}
    (folder / "scratch").mkdir(parents=True)
    for number, file in enumerate(files):
        if isinstance(file, Package):
            path = folder / f"{number}_{file.path.rpartition('/')[2]}"
            path.write_bytes(file.data)
            file = path
        inputs[file.name] = _Input(Blob(Digest.of(file.read_bytes()), file.stat().st_size), file)
    params = {
        "architecture": architecture,
        "debs": sorted(inputs),
        "image": {"name": "test", "python": "3.11", "user": user},
    }
    outputs = {name: folder / name for name in ("info", "layer", "paths")}
    run(Work(params, inputs, outputs, folder / "scratch", lambda n: None))
    gzipped = outputs["layer"].read_bytes()
    return Merged(
        json.loads(outputs["info"].read_bytes()),
        gzip.decompress(gzipped),
        outputs["paths"].read_text(),
        gzipped,
    )
