"""What a loading flow reads, in the child: files, folders, environment variables.

Part of the probe: runs in the user's interpreter (3.8 or newer) and imports nothing of mfbuild.
"""

# The audit hook runs for every file that Python opens: strings, not Paths.
# ruff: noqa: PTH100, PTH112, PTH116, PTH117, PTH120

from __future__ import annotations

import contextlib
import importlib.util
import os
import site
import stat
import sys
from _thread import get_ident
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

_PROBE = os.path.dirname(os.path.abspath(__file__))  # its digest is in the depfile's name
_PSEUDO = ("/dev", "/proc", "/sys")

if TYPE_CHECKING:
    Stat = tuple[int, int, int, int] | None


class Recorder:
    """Collects what is read from `install` on; `result` tells it as JSON.

    `workspace` and `folder` (the flow's) are absolute paths. The interpreter's library is left
    out: the mtimes of its site-packages stand for it.
    """

    def __init__(self, workspace: str, folder: str) -> None:
        self._workspace = workspace
        self._folder = folder
        self._library = _library()
        self._roots = sorted([workspace, *self._library], key=len, reverse=True)
        self._files: dict[str, Stat] = {}
        self._written: set[str] = set()
        self._directories: dict[str, list[str] | None] = {}
        self._packaged: dict[str, list[str] | None] = {}
        self._stamps: set[str] = set()
        self._environment: set[str] = set()
        self._own: set[str] = set()
        self._whole = False
        self._listing: set[int] = set()
        self.packaging = False

    def install(self) -> None:
        """Begin to record."""
        _Environ.recorder = self
        # The one object that everyone already holds becomes the recording one: putenv, os.getenv,
        # copies and the environment of subprocesses stay what they are.
        os.environ.__class__ = _Environ
        sys.addaudithook(self._hook)

    def result(self) -> dict[str, Any]:
        """What was read, as the parent expects it."""
        for module in list(sys.modules.values()):
            origin = getattr(getattr(module, "__spec__", None), "origin", None)
            for path in (getattr(module, "__file__", None), origin):
                if isinstance(path, str) and os.path.isabs(path):
                    self._read(path)
        return {
            "files": self._files,
            "directories": self._directories,
            "packaged": self._packaged,
            "stamps": sorted({*self._stamps, *self._library} - {_PROBE}),
            "environment": sorted(self._environment),
            "whole_environment": self._whole,
        }

    def read_variable(self, name: Any) -> None:
        """The environment variable `name` was looked up."""
        if isinstance(name, str) and name not in self._own:
            self._environment.add(name)

    def read_environment(self) -> None:
        """All of the environment was looked at."""
        self._whole = True

    def wrote_variable(self, name: Any) -> None:
        """The process set or removed `name` itself: what it reads there now is its own."""
        self._own.add(name)

    def note_file(self, path: str) -> None:
        """`path` shapes the result although it lies in the library (Metaflow's version)."""
        self._files.setdefault(path, _stat(path))

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.listdir", "os.scandir") or get_ident() in self._listing:
            return
        try:
            path = os.path.abspath(os.fsdecode(arguments[0] if arguments[0] is not None else "."))
        except (TypeError, ValueError, OSError):  # a file descriptor, or no path at all
            return
        if event != "open":
            self._list(path)
        elif _reads(arguments[1], arguments[2]):
            self._read(path)
        else:
            self._written.add(path)

    def _read(self, path: str) -> None:
        if path in self._written or path.startswith(_PSEUDO):
            return
        if path.endswith(".pyc"):
            with contextlib.suppress(ValueError):  # compiled code without a source
                path = importlib.util.source_from_cache(path)
        if path not in self._files and self._root(path) not in self._library:
            seen = _stat(path)
            if seen is None or not os.path.isdir(path):
                self._files[path] = seen

    def _list(self, path: str) -> None:
        if path.startswith(_PSEUDO) or path in self._directories or path in self._packaged:
            return
        root = self._root(path)
        if root in self._library:
            return
        if root != self._workspace:
            self._stamps.add(path)
        elif not self.packaging:
            self._directories[path] = self._names(path)
        elif "/." not in path[len(self._folder) :]:  # Metaflow walks hidden folders, takes nothing
            self._packaged[path] = self._names(path)

    def _names(self, path: str) -> list[str] | None:
        self._listing.add(get_ident())
        try:
            with os.scandir(path) as entries:
                return [e.name + "/" if e.is_dir() else e.name for e in entries]
        except OSError:
            return None
        finally:
            self._listing.discard(get_ident())

    def _root(self, path: str) -> str | None:
        """The innermost of the workspace and the library's folders that holds `path`."""
        for root in self._roots:
            if path == root or path.startswith(root + os.sep):
                return root
        return None


class _Environ(type(os.environ)):  # type: ignore[misc]
    """os.environ that tells what is read from it."""

    recorder: Recorder

    def __getitem__(self, key: Any) -> Any:
        self.recorder.read_variable(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        self.recorder.read_environment()
        return iter(super().__iter__())

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.recorder.wrote_variable(key)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self.recorder.wrote_variable(key)


def _reads(mode: Any, flags: Any) -> bool:
    """Whether this open() sees what the file held before."""
    if isinstance(mode, str):
        return not mode.startswith(("w", "x")) and ("r" in mode or "+" in mode)
    if not isinstance(flags, int):
        return True
    return flags & os.O_ACCMODE != os.O_WRONLY and not flags & (os.O_TRUNC | os.O_EXCL)


def _stat(path: str) -> Stat:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _library() -> set[str]:
    """The folders of the standard library, of installed packages and of the probe."""
    folders = [_PROBE, os.path.dirname(os.__file__), *site.getsitepackages()]
    user = site.getusersitepackages()
    return {os.path.abspath(f) for f in [*folders, user]} | {os.path.realpath(f) for f in folders}
