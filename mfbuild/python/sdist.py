"""Pure-Python wheels from sdists, built apart from the machine and written in fixed bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from mfbuild.errors import ResolveError
from mfbuild.python.index import IndexSettings
from mfbuild.python.uv import UvFailure, run_uv

_EPOCH = (1980, 1, 1, 0, 0, 0)
_FIXED = {
    "SOURCE_DATE_EPOCH": "315532800",
    "PYTHONHASHSEED": "0",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
_PURE = ("-py3-none-any.whl", "-py2.py3-none-any.whl")


def build_wheel(sdist: Path, settings: IndexSettings, folder: Path) -> Path:
    """Build the verified `sdist` in isolation; the normalized wheel in `folder`.

    ResolveError when the build fails, or gives a wheel that is not for every platform.
    """
    import sys

    with tempfile.TemporaryDirectory(prefix="mfbuild-sdist-") as scratch:
        arguments = ["build", "--wheel", "--out-dir", scratch, "--python", sys.executable]
        try:
            run_uv([*arguments, *settings.flags, str(sdist)], settings, environ=_FIXED)
        except UvFailure as failure:
            message = f"`{sdist.name}` has no wheel and cannot be built: {failure.reason}"
            raise ResolveError(message) from failure
        built = next(Path(scratch).glob("*.whl"))
        if not built.name.endswith(_PURE):
            raise ResolveError(
                f"`{sdist.name}` builds `{built.name}`: not supported, a package without a wheel "
                "for the platform must be pure Python",
                hint="put a wheel of it into an index of yours",
            )
        try:
            (folder / built.name).write_bytes(normalized(built))
        except (KeyError, zipfile.BadZipFile) as error:
            raise ResolveError(f"`{sdist.name}` builds a damaged wheel: {error}") from error
        return folder / built.name


def normalized(wheel: Path) -> bytes:
    """`wheel` with nothing in it that depends on who built it, when, or with which zlib.

    Entries are stored, sorted (the .dist-info folder last, as PEP 427 recommends) and dated 1980;
    modes are 644 or 755; WHEEL names no generator; RECORD is written anew.
    """
    with zipfile.ZipFile(wheel) as archive:
        entries = [e for e in archive.infolist() if not e.is_dir()]
        files = {e.filename: archive.read(e) for e in entries}
        executable = {e.filename for e in entries if e.external_attr >> 16 & 0o100}
    info = next((n.partition("/")[0] for n in files if n.endswith(".dist-info/WHEEL")), "")
    files = {n: d for n, d in files.items() if not n.startswith(f"{info}/RECORD")}
    files[f"{info}/WHEEL"] = _without_generator(files[f"{info}/WHEEL"])
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files, key=lambda n: (n.startswith(f"{info}/"), n)):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = (0o100755 if name in executable else 0o100644) << 16
            archive.writestr(entry, files[name])
    return data.getvalue()


def _without_generator(text: bytes) -> bytes:
    return b"".join(
        line for line in text.splitlines(keepends=True) if not line.startswith(b"Generator:")
    )


def _record(files: Mapping[str, bytes], own: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        writer.writerow([name, f"sha256={digest.decode()}", len(files[name])])
    writer.writerow([own, "", ""])
    return text.getvalue().encode()
