"""What a run takes from the person's own settings of Metaflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mfbuild.errors import RunError
from mfbuild.files import words_of
from mfbuild.runtime.environment import user_of

_SYSROOT = "METAFLOW_DATASTORE_SYSROOT_LOCAL"
_FOLDER = ".metaflow"


def metaflow_settings(environ: Mapping[str, str], here: Path) -> dict[str, str]:
    """Variables that make steps write where `python flow.py run` would, started in `here`."""
    found = {_SYSROOT: str(datastore_root(environ, here))}
    if user := user_of(environ):
        found["METAFLOW_USER"] = user
    return found


def datastore_root(environ: Mapping[str, str], here: Path) -> Path:
    """The folder whose `.metaflow` is the local datastore: set, or the nearest that has one."""
    if known := environ.get(_SYSROOT):
        return Path(known).absolute()
    above = (folder for folder in (here, *here.parents) if (folder / _FOLDER).is_dir())
    return next(above, here)


def make_datastore(environ: Mapping[str, str]) -> Path:
    """The `.metaflow` folder that `metaflow_settings` named, made if need be; RunError."""
    return _made(Path(environ[_SYSROOT], _FOLDER))


def make_files_root(environ: Mapping[str, str]) -> Path:
    """Where Metaflow keeps the files of IncludeFile, made if need be; RunError.

    It is metaflow_config.py's DATATOOLS_LOCALROOT.
    """
    suffix = environ.get("METAFLOW_DATATOOLS_SUFFIX") or "data"
    beside = Path(environ[_SYSROOT], suffix)
    return _made(Path(environ.get("METAFLOW_DATATOOLS_LOCALROOT") or beside))


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the local datastore cannot be made: {words_of(error)}"
        hint = f"set {_SYSROOT} to a folder that can be written"
        raise RunError(message, where=str(folder), hint=hint) from error
    return folder
