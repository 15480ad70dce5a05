"""Small wheels for tests, right in every field unless the test says otherwise."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

Files = Mapping[str, str | bytes]


def make_wheel(
    folder: Path,
    files: Files,
    *,
    name: str = "demo",
    version: str = "1.0",
    tag: str = "py3-none-any",
    info: Files | None = None,
    executable: Collection[str] = (),
    method: int = zipfile.ZIP_DEFLATED,
    requires: Collection[str] = (),
) -> Path:
    """Write `<name>-<version>-<tag>.whl` into `folder`: `files`, and a `.dist-info` with `info`.

    `info` adds to WHEEL, METADATA and RECORD or replaces them; `executable` are the names whose
    mode is 0755. The same arguments give the same bytes.
    """
    dist_info = f"{name}-{version}.dist-info"
    fields = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    metadata: dict[str, str | bytes] = {
        "METADATA": "\n".join(["Metadata-Version: 2.1", *fields, ""]),
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    metadata |= info or {}
    contents = {
        path: data.encode() if isinstance(data, str) else data
        for path, data in {**files, **{f"{dist_info}/{k}": v for k, v in metadata.items()}}.items()
    }
    record = f"{dist_info}/RECORD"
    contents.setdefault(record, record_of(contents, record))
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path)
            entry.create_system = 3
            entry.external_attr = (0o100755 if path in executable else 0o100644) << 16
            archive.writestr(entry, data, method)
    return wheel


def record_of(contents: Mapping[str, bytes], record: str) -> bytes:
    """The text of RECORD for `contents`; `record` is its own path."""
    rows = [(path, hash_of(data), str(len(data))) for path, data in contents.items()]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*rows, (record, "", "")])
    return text.getvalue().encode()


def hash_of(data: bytes) -> str:
    """`data` as RECORD hashes it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"
