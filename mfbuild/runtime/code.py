"""The code tarball and the plan: fetched, held against their digest, and unpacked once."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import Failure, NonRecoverable

_MARK = "#sha256="
_ARCHIVE = "archive"
_FILES = "files"


@dataclass(frozen=True, slots=True)
class Code:
    """Unpacked code: the folder of the files, and the tarball that they came from."""

    folder: Path
    archive: Path


def fetch(address: str, get: Callable[[str], bytes]) -> bytes:
    """What `<url>#sha256=<hex>` names. Raises NonRecoverable where it is not what was promised."""
    url, digest = split_address(address)
    content = get(url)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise NonRecoverable(
            "WrongDigest", f"`{url}` has the sha256 {found}, not {digest}: it was changed"
        )
    return content


def split_address(address: str) -> tuple[str, str]:
    """(url, sha256 as hex) of `<url>#sha256=<hex>`."""
    url, mark, digest = address.rpartition(_MARK)
    if not mark or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise NonRecoverable("WrongAddress", f"`{address}` does not end in {_MARK}<64 hex digits>")
    return url, digest


def unpack(address: str, get: Callable[[str], bytes], environ: Mapping[str, str]) -> Code:
    """The code of `address`, fetched unless another step on this machine has done so.

    It lies in $MFBUILD_WORKDIR, else in the folder for temporary files, by its digest. Raises
    NonRecoverable for wrong content, Failure where it cannot be read or written.
    """
    base = environ.get("MFBUILD_WORKDIR") or tempfile.gettempdir()
    home = Path(base).absolute() / f"mfbuild-{split_address(address)[1]}"
    try:
        if not home.exists():
            _lay_out(fetch(address, get), home)
        _check_owner(home)
    except OSError as error:
        raise Failure(f"the code cannot be unpacked in `{base}`: {error.strerror}") from error
    return Code(home / _FILES, home / _ARCHIVE)


def _check_owner(home: Path) -> None:
    """Where anybody may write, the folder could be somebody else's, with other code in it."""
    found = home.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not ours or found.st_mode & 0o022:
        raise NonRecoverable("WrongOwner", f"`{home}` can be written by others; remove it")


def _lay_out(archive: bytes, home: Path) -> None:
    """Fill a folder beside `home` and rename it, so that `home` is whole if it is there."""
    home.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f"{home.name}.", dir=home.parent))
    try:
        (beside / _ARCHIVE).write_bytes(archive)
        extract(archive, beside / _FILES)
        try:
            beside.rename(home)
        except OSError:
            if not home.is_dir():  # else another step was faster
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def extract(archive: bytes, folder: Path) -> None:
    """Write the members of a tar archive (plain or compressed) below `folder`, which is made.

    Plain files and folders only. Raises NonRecoverable for links, devices, a name that leaves
    the folder or comes twice, and what is no archive.
    """
    folder.mkdir(parents=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                _write(tar, member, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise NonRecoverable("WrongArchive", f"the code is no tar archive: {error}") from error


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise NonRecoverable("WrongArchive", f"`{member.name}` leaves the folder of the code")
    content = tar.extractfile(member) if member.isreg() else None
    if content is None and not member.isdir():
        raise NonRecoverable("WrongArchive", f"`{member.name}` is neither a file nor a folder")
    path = folder / name
    try:
        (path.parent if content else path).mkdir(parents=True, exist_ok=True)
        if content:
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)
            path.chmod(0o755 if member.mode & 0o111 else 0o644)
    except (FileExistsError, NotADirectoryError) as error:
        raise NonRecoverable("WrongArchive", f"`{member.name}` is there twice") from error
