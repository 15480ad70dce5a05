"""A package index on the loopback for tests: PEP 503 HTML and PEP 691 JSON, with faults."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from mfbuild.python.index import IndexSettings, read_settings
from tests.servers import Handler, serving

_MACHINE = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY")
Fault = Literal["404", "403", "429", "503", "cut", "wrong", "encoded", "redirect"]
JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class File:
    """A wheel or sdist: its name, its bytes, and its core metadata where it is served apart."""

    name: str
    data: bytes
    metadata: bytes | None = None

    @property
    def project(self) -> str:
        stem = self.name.removesuffix(".tar.gz")
        wheel = self.name.endswith(".whl")
        return (stem.split("-")[0] if wheel else stem.rpartition("-")[0]).replace("_", "-").lower()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.name).write_bytes(self.data)
        return folder / self.name


def wheel(
    name: str,
    version: str,
    requires: Sequence[str] = (),
    *,
    tag: str = "py3-none-any",
    body: str = "",
) -> File:
    """A wheel with one module; `tag` is the last three parts of its file name."""
    dist = name.replace("-", "_")
    info = f"{dist}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata = "\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires), ""])
    root = "true" if tag.endswith("-any") else "false"
    files = {
        f"{dist}.py": f"VERSION = {version!r}\n{body}",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {root}\n"
        + "".join(f"Tag: {t}\n" for t in _expanded(tag)),
    }
    record = "".join(f"{path},{_record(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    return File(f"{dist}-{version}-{tag}.whl", zipped(files), metadata.encode())


def sdist(
    name: str, version: str, *, tag: str = "py3-none-any", requires: Sequence[str] = ()
) -> File:
    """An sdist that builds itself, with no build requirement, into a wheel tagged `tag`."""
    dist = name.replace("-", "_")
    built = base64.b64encode(wheel(name, version, requires, tag=tag).data).decode()
    backend = (
        "import base64, pathlib\n"
        f"NAME = '{dist}-{version}-{tag}.whl'\n"
        f"DATA = '{built}'\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    pathlib.Path(folder, NAME).write_bytes(base64.b64decode(DATA))\n"
        "    return NAME\n"
    )
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    requires_dist = "".join(f"Requires-Dist: {r}\n" for r in requires)
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires_dist}"
    files = {"pyproject.toml": project, "backend.py": backend, "PKG-INFO": info}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{dist}-{version}/{path}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return File(f"{dist}-{version}.tar.gz", gzip.compress(data.getvalue(), mtime=0))


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A deflated zip of `files` in the order given, with fixed times."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), content)
    return data.getvalue()


def _expanded(tag: str) -> list[str]:
    python, abi, platforms = tag.split("-")[-3:]
    return [f"{p}-{abi}-{o}" for p in python.split(".") for o in platforms.split(".")]


def _record(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


@dataclass
class Index:
    """What is served, and what was asked for.

    `faults` maps a file name to what goes wrong with the next requests for it, in order. With
    `bare` the pages are HTML and tell neither sizes nor hashes; with `html` no sizes. `hashes`
    maps a file name, or with `""` all of them, to what its page tells in place of its sha256.
    """

    url: str
    files: list[File]
    auth: tuple[str, str] | None = None
    html: bool = False
    bare: bool = False
    ranges: bool = True
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    elsewhere: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def simple(self) -> str:
        return f"{self.url}/simple"

    def told(self, file: File) -> str:
        return self.hashes.get(file.name) or self.hashes.get("") or file.sha256

    def downloads(self, name: str) -> list[dict[str, str]]:
        """The headers of each GET of the file `name`."""
        return [headers for path, headers in self.asked if path == f"/files/{name}"]


def settings_for(index: Index | None, home: Path, **environ: str) -> IndexSettings:
    """Settings that know `index` alone: nothing of the person's configuration is read."""
    machine = {name: os.environ[name] for name in _MACHINE if name in os.environ}
    alone = {
        "HOME": str(home),
        "UV_CACHE_DIR": str(home / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    default = {"UV_DEFAULT_INDEX": index.simple} if index else {}
    return read_settings(home, {**machine, **alone, **default, **environ})


@contextmanager
def serve(*files: File, **settings: Any) -> Iterator[Index]:
    """Serve `files` until the block ends; `settings` are fields of Index."""

    class Connection(_Handler):
        pass

    with serving(Connection) as host:
        Connection.index = Index(f"http://{host}", list(files), **settings)
        yield Connection.index


class _Handler(Handler):
    protocol_version = "HTTP/1.1"
    index: Index

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        index = self.index
        path = unquote(self.path)
        if self.command == "GET":
            index.asked.append((path, {k.lower(): v for k, v in self.headers.items()}))
        kind, _, rest = path.strip("/").partition("/")
        if index.auth and self.headers.get("Authorization") != _basic(*index.auth):
            self._answer(401, b"", {"WWW-Authenticate": 'Basic realm="tests"'})
        elif kind == "simple":
            self._project(index, rest)
        else:
            self._file(index, rest)

    def _project(self, index: Index, project: str) -> None:
        found = [f for f in index.files if f.project == project]
        if not found:
            self._answer(404, b"")
        elif index.html or index.bare:
            self._answer(200, _html(index, found).encode(), {"Content-Type": "text/html"})
        else:
            page = {
                "meta": {"api-version": "1.1"},
                "name": project,
                "files": [_entry(index, f) for f in found],
            }
            self._answer(200, json.dumps(page).encode(), {"Content-Type": JSON})

    def _file(self, index: Index, name: str) -> None:
        if name.endswith(".metadata"):
            name = name.removesuffix(".metadata")
            found = {f.name: f.metadata for f in index.files}.get(name)
        else:
            found = {f.name: f.data for f in index.files}.get(name)
        if found is None:
            self._answer(404, b"")
            return
        queue = index.faults.get(name, []) if self.command == "GET" else []
        fault = queue.pop(0) if queue else None
        if fault is None:
            self._content(index, found)
        elif fault == "wrong":
            self._answer(200, bytes(b ^ 1 for b in found))
        elif fault == "redirect":
            self._answer(302, b"", {"Location": f"{index.elsewhere}/files/{name}"})
        elif fault == "encoded":
            self._answer(200, found, {"Content-Encoding": "gzip"})
        elif fault == "cut":
            self._cut(found)
        else:
            self._answer(int(fault), b"", {"Retry-After": "0"})

    def _content(self, index: Index, data: bytes) -> None:
        first, last = 0, len(data) - 1
        asked = self.headers.get("Range")
        if not (asked and index.ranges):
            self._answer(200, data, {"Accept-Ranges": "bytes"} if index.ranges else {})
            return
        low, _, high = asked.removeprefix("bytes=").partition("-")
        first = int(low) if low else len(data) - int(high)
        last = min(int(high), last) if low and high else last
        part = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self._answer(206, data[first : last + 1], part)

    def _cut(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _entry(index: Index, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": file.name,
        "url": f"{index.url}/files/{quote(file.name)}",
        "hashes": {"sha256": index.told(file)},
        "size": len(file.data),
    }
    return entry | ({"core-metadata": True} if file.metadata else {})


def _html(index: Index, files: Sequence[File]) -> str:
    links = []
    for file in files:
        fragment = "" if index.bare else f"#sha256={index.told(file)}"
        core = ' data-core-metadata="true"' if file.metadata else ""
        href = f"../../files/{quote(file.name)}{fragment}"
        links.append(f'<a href="{href}"{core}>{file.name}</a>')
    return "<!DOCTYPE html><html><body>" + "<br>".join(links) + "</body></html>"
