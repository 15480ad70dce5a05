"""What an installer would lay down for a wheel, as data.

Follows the binary distribution format (PEP 427, kept at packaging.python.org); where that leaves
a choice, pip's is taken.
"""

from __future__ import annotations

import csv
import hashlib
import io
import lzma
import re
import struct
import zipfile
import zlib
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from mfbuild.errors import FetchError, Problem
from mfbuild.oci.tar import shortened, too_long
from mfbuild.python.archive import ODD, Member, read_members

DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error, struct.error),
    *(EOFError, OSError, RuntimeError, ValueError),
)
"""What the standard library may raise when it reads a damaged archive."""

_MAX_IN_MEMORY = 64 << 20
_INSTALLER = b"mfbuild\n"
# Written anew, or true only of another installation of the wheel.
_NOT_LAID_DOWN = (
    *("INSTALLER", "RECORD", "RECORD.jws", "RECORD.p7s"),
    *("REQUESTED", "direct_url.json", "uv_cache.json"),
)
_FILENAME = re.compile(r"([^-]+)-([^-]+)(?:-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
_REQUIRES = re.compile(r"Requires-Dist:\s*([A-Za-z0-9][\w.-]*)", re.IGNORECASE)
_OBJECT = re.compile(r"([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\])?")


@dataclass(frozen=True, slots=True)
class Scheme:
    """The virtual environment that wheels go into; `prefix` is relative to the image root."""

    prefix: str
    python: str

    @property
    def site(self) -> str:
        return f"{self.prefix}/lib/python{self.python}/site-packages"

    @property
    def interpreter(self) -> str:
        return f"/{self.prefix}/bin/python"

    def keys(self, name: str) -> dict[str, str]:
        """Where the files under each key of the `.data` directory of the distribution go."""
        return {
            "purelib": self.site,
            "platlib": self.site,
            "scripts": f"{self.prefix}/bin",
            "headers": f"{self.prefix}/include/site/python{self.python}/{name}",
            "data": self.prefix,
        }

    def recorded(self, path: str) -> str:
        """`path` as RECORD names it, relative to site-packages."""
        inside = path.startswith(f"{self.site}/")
        return path[len(self.site) + 1 :] if inside else "../../.." + path[len(self.prefix) :]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to lay down: its path from the image root, and its content or where that is."""

    path: str
    mode: int
    content: Member | bytes

    @property
    def size(self) -> int:
        """The size of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size


def read_wheel(file: Path, filename: str, scheme: Scheme) -> tuple[Entry, ...]:
    """What to lay down for the wheel called `filename`, whose bytes are in `file`.

    Sorted bytewise by path, no path twice. FetchError names the wheel and its members if it is
    damaged, could write outside its place, or must not be installed.
    """
    try:
        with ZipFile(file) as archive:
            wheel = _open(archive, read_members(archive, file, filename), filename)
            return wheel.entries(scheme)
    except DAMAGE as error:
        raise FetchError(f"cannot be read as a wheel: {error}", where=filename) from error


def required(file: Path, filename: str) -> list[str]:
    """The names that METADATA requires, normalized, without those of extras; FetchError."""
    try:
        with ZipFile(file) as archive:
            wheel = _open(archive, read_members(archive, file, filename), filename)
            metadata = wheel.members.get(f"{wheel.info}/METADATA")
            data = content(archive, metadata) if metadata else b""
    except DAMAGE as error:
        raise FetchError(f"cannot be read as a wheel: {error}", where=filename) from error
    head = data.decode(errors="replace").replace("\r\n", "\n").partition("\n\n")[0]
    lines = (line for line in head.split("\n") if "extra ==" not in line)
    names = (match[1] for line in lines if (match := _REQUIRES.match(line)))
    return sorted({normalized(name) for name in names})


def normalized(name: str) -> str:
    """The name of a package as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def content(archive: ZipFile, member: Member) -> bytes:
    """The whole content of a member, at most 64 MiB; raises one of DAMAGE."""
    if member.size > _MAX_IN_MEMORY:
        raise ValueError(f"`{member.name}` is larger than `{_MAX_IN_MEMORY}` bytes")
    return archive.read(archive.infolist()[member.index])


def _open(archive: ZipFile, members: dict[str, Member], filename: str) -> _Wheel:
    """Find the directories of a wheel's metadata and data."""
    match = _FILENAME.fullmatch(filename)
    if not match:
        raise FetchError("this is not the file name of a wheel", where=filename)
    name, version = match[1], match[2]
    tops = {member.partition("/")[0] for member in members if "/" in member}
    infos = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(infos) != 1 or not _is_of(infos[0], name, version):
        found = ", ".join(f"`{info}`" for info in infos) or "none"
        message = f"must have one directory `{name}-{version}.dist-info`; it has {found}"
        raise FetchError(message, where=filename)
    data = next((t for t in sorted(tops) if t.endswith(".data") and _is_of(t, name, version)), "")
    return _Wheel(archive, members, filename, name=name, info=infos[0], data=data)


def _is_of(directory: str, name: str, version: str) -> bool:
    """Whether `<name>-<version>.dist-info` or `.data` belongs to the wheel of that file name."""
    other, _, other_version = directory.rpartition(".")[0].rpartition("-")
    if normalized(other) != normalized(name):
        return False
    if other_version == version:
        return True
    from packaging.version import Version

    return Version(other_version) == Version(version)


@dataclass(frozen=True, slots=True)
class _Wheel:
    """An open wheel; `info` and `data` are its `.dist-info` and `.data` directories."""

    archive: ZipFile
    members: dict[str, Member]
    filename: str
    name: str
    info: str
    data: str

    def entries(self, scheme: Scheme) -> tuple[Entry, ...]:
        """Every file, with RECORD and the commands."""
        fields = (line.partition(":") for line in self.text("WHEEL").splitlines())
        version = next((v.strip() for key, _, v in fields if key == "Wheel-Version"), "")
        if version.partition(".")[0] != "1":
            raise FetchError(f"its Wheel-Version is `{version}`, not `1.0`", where=self.filename)
        laid = list(self.laid_down(scheme))
        counts = Counter(entry.path for entry, _ in laid)
        self.refuse([f"lays down `{path}` twice" for path, n in counts.items() if n > 1])
        long = [shortened(path) for path in counts if too_long(path)]
        self.refuse([f"`{path}` is too long for any file system" for path in long])
        record = Entry(f"{scheme.site}/{self.info}/RECORD", 0o644, self.record(laid, scheme))
        entries = [record, *(entry for entry, _ in laid)]
        return tuple(sorted(entries, key=lambda entry: entry.path.encode()))

    def refuse(self, messages: list[str]) -> None:
        FetchError.raise_for([Problem(m, where=self.filename) for m in messages])

    def text(self, name: str) -> str:
        """A file of the `.dist-info` directory."""
        member = self.members.get(f"{self.info}/{name}")
        if member is None:
            raise FetchError(f"has no `{self.info}/{name}`", where=self.filename)
        return content(self.archive, member).decode()

    def laid_down(self, scheme: Scheme) -> Iterator[tuple[Entry, str]]:
        """Every file but RECORD, with its hash in RECORD's form, empty where nobody knows it."""
        hashes = {row[0]: row[1] for row in csv.reader(io.StringIO(self.text("RECORD"))) if row[1:]}
        commands = self.commands(scheme)
        yield _made(f"{scheme.site}/{self.info}/INSTALLER", _INSTALLER, 0o644)
        for command, script in commands.items():
            yield _made(f"{scheme.prefix}/bin/{command}", script, 0o755)
        left_out = {f"{self.info}/{name}" for name in _NOT_LAID_DOWN}
        # Some builders ship their own wrappers of entry points; as in pip, the entry point wins.
        left_out |= {f"{self.data}/scripts/{command}" for command in commands}
        for name, member in self.members.items():
            if name not in left_out:
                yield self.placed(member, scheme, hashes.get(name, ""))

    def placed(self, member: Member, scheme: Scheme, known: str) -> tuple[Entry, str]:
        """Where a member goes. Root-Is-Purelib makes no difference: both are site-packages."""
        top, _, rest = member.name.partition("/")
        mode = 0o755 if member.executable else 0o644
        if top != self.data:
            return Entry(f"{scheme.site}/{member.name}", mode, member), known
        key, _, path = rest.partition("/")
        directory = scheme.keys(self.name).get(key)
        if not directory or not path:
            raise FetchError(f"`{member.name}` has no place in the format", where=self.filename)
        if key != "scripts":
            return Entry(f"{directory}/{path}", mode, member), known
        with self.archive.open(self.archive.infolist()[member.index]) as opened:
            is_python = opened.read(8) == b"#!python"
        if not is_python:
            return Entry(f"{directory}/{path}", 0o755, member), known
        rest_of_it = content(self.archive, member).partition(b"\n")[2]
        return _made(f"{directory}/{path}", _shebang(scheme) + rest_of_it, 0o755)

    def commands(self, scheme: Scheme) -> dict[str, bytes]:
        """The scripts of `console_scripts` and `gui_scripts` (entry points specification)."""
        if f"{self.info}/entry_points.txt" not in self.members:
            return {}
        found: dict[str, bytes] = {}
        bad: list[str] = []
        for name, value in _entry_points(self.text("entry_points.txt")):
            match = _OBJECT.fullmatch(value)
            parts = f"{match[1]}.{match[2]}".split(".") if match else [""]
            if name in ("", ".", "..") or "/" in name or ODD.search(name):
                bad.append(f"its entry point `{name}` cannot be the name of a command")
            elif not match or not all(part.isidentifier() for part in parts):
                bad.append(f"its entry point `{name}` is `{value}`, not `module:function`")
            else:
                found[name] = _shebang(scheme) + _script(match[1], match[2])
        self.refuse(bad)
        return found

    def record(self, laid: list[tuple[Entry, str]], scheme: Scheme) -> bytes:
        """RECORD for what is laid down, sorted by path (PEP 376, PEP 627)."""
        rows = [(scheme.recorded(entry.path), known, str(entry.size)) for entry, known in laid]
        rows.append((f"{self.info}/RECORD", "", ""))
        rows.sort(key=lambda row: row[0].encode())
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


def _made(path: str, data: bytes, mode: int) -> tuple[Entry, str]:
    digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return Entry(path, mode, data), f"sha256={digest}"


def _entry_points(text: str) -> Iterator[tuple[str, str]]:
    """Name and value of each command in an entry_points.txt."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif line and line[0] not in "#;" and section in ("console_scripts", "gui_scripts"):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def _shebang(scheme: Scheme) -> bytes:
    return f"#!{scheme.interpreter}\n".encode()


def _script(module: str, function: str) -> bytes:
    name = function.partition(".")[0]
    lines = ["import sys", "", f"from {module} import {name}", "", 'if __name__ == "__main__":']
    return "\n".join([*lines, f"    sys.exit({function}())", ""]).encode()
