"""The files of the code package, as Metaflow itself selects them.

Part of the probe: runs in the user's interpreter (3.8 or newer) and imports nothing of mfbuild.
"""

from __future__ import annotations

import csv
import io
import re
import stat
import sys
from collections.abc import Callable
from importlib import import_module
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    Json = dict[str, Any]

_IN_IMAGE = (".mf_code/metaflow/", ".mf_code/metaflow_extensions/")
_MARKER = ".mf_install"
_DEEPEST_WALK = 10_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class PackagedCode(NamedTuple):
    """`files` of the code tarball and `metaflow`, Metaflow's own files, both as CodeFile JSON."""

    files: list[Json]
    metaflow: list[Json]


def package(
    state: Any, recorder: Any, included: dict[str, str], problem: Callable[..., None]
) -> PackagedCode:
    """What MetaflowPackage would take, and the `included` files; no archive is made of it."""
    entries = _entries(state, recorder)
    flow = entries.get(Path(state.entrypoint[1]).name)
    # A mutator in the flow file makes __main__ a module to package: the flow file once more.
    entries = {n: c for n, c in entries.items() if c != flow or not n.startswith(".mf_code/")}
    entries.update(included)
    files, metaflow = [], []
    for name, content in sorted(entries.items()):
        if name.startswith(_IN_IMAGE):
            if name.startswith(_IN_IMAGE[0]):
                metaflow.append(_file(name[len(".mf_code/") :], content, problem))
        else:
            files.append(_file(name, _normal(name, content, entries), problem))
    return PackagedCode([f for f in files if f], [f for f in metaflow if f])


def _entries(state: Any, recorder: Any) -> dict[str, Any]:
    """Name in the archive -> absolute path (str) or generated content (bytes)."""
    environment: Any = import_module("metaflow.metaflow_environment")
    tar: Any = import_module("metaflow.packaging_sys.tar_backend")
    version = import_module("metaflow.metaflow_version").get_version(public=True)
    entries: dict[str, Any] = {}

    class Environment(environment.MetaflowEnvironment):  # type: ignore[misc]
        def get_environment_info(self, include_ext_info: bool = False) -> Json:
            """INFO without user, host, git and time; extensions are found where they lie."""
            script = Path(state.entrypoint[1]).name
            kind = environment.MetaflowEnvironment.TYPE  # by which the client asks for more
            info = {"metaflow_version": version, "script": script, "use_r": False}
            return {**info, "environment_type": kind}

    class Backend(tar.TarPackagingBackend):  # type: ignore[misc]
        type = "mfbuild"

        def create(self) -> Any:
            self._archive = None
            return self

        def add_file(self, filename: str, arcname: str | None = None) -> None:
            entries[arcname or filename] = str(Path(filename).absolute())

        def add_data(self, data: Any, arcname: str) -> None:
            entries[arcname] = data.getvalue()

        def get_blob(self) -> bytes:
            return b"-"

    recorder.packaging = True
    limit = sys.getrecursionlimit()
    try:
        # Before 3.12 os.walk recurses; a path has at most 2,048 folders (limits.h: PATH_MAX).
        sys.setrecursionlimit(max(limit, _DEEPEST_WALK))
        import_module("metaflow.package").MetaflowPackage(
            state.flow,
            Environment(state.flow),
            lambda *_, **__: None,
            suffixes=state.package_suffixes,
            backend=Backend,
        ).blob_with_timeout()
    finally:
        sys.setrecursionlimit(limit)
        recorder.packaging = False
    return entries


def _file(name: str, content: Any, problem: Callable[..., None]) -> Json | None:
    if isinstance(content, bytes):
        text = content.decode("utf-8")
        return {"arcname": name, "path": None, "text": text, "executable": False}
    try:
        name.encode("utf-8")
        mode = Path(content).stat().st_mode
    except UnicodeEncodeError:
        shown = name.encode("ascii", "backslashreplace").decode("ascii")
        problem(f"the name of the code file `{shown}` is not UTF-8")
        return None
    except OSError as error:
        problem(f"the code file `{name}` cannot be packaged: {error.strerror}")
        return None
    if _CONTROL.search(name):
        shown = name.encode("unicode_escape").decode("ascii")
        problem(f"the code file `{shown}` cannot be packaged: its name has control characters")
        return None
    if not stat.S_ISREG(mode):
        problem(f"the code file `{name}` cannot be packaged: it is no regular file")
        return None
    return {"arcname": name, "path": content, "text": None, "executable": bool(mode & 0o111)}


def _normal(name: str, content: Any, entries: dict[str, Any]) -> Any:
    """Generated content, the same whatever the order of folders and the installer."""
    if name == _MARKER:
        marker = loads(content)
        files = [f for f in marker.get("module_files", []) if f in entries]
        return dumps({**marker, "module_files": sorted(files)}).encode("utf-8")
    if name == ".mf_meta/DIST_INFO":
        info = loads(content)
        for distribution in info.values():
            distribution["RECORD"] = _record(distribution.get("RECORD", ""))
        return dumps(info, sort_keys=True).encode("utf-8")
    return content


def _record(text: str) -> str:
    """RECORD without what an installer adds: compiled files, scripts, and its own notes."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    own = ("/INSTALLER", "/RECORD", "/REQUESTED", "/direct_url.json")
    kept = [
        row
        for row in rows
        if "__pycache__" not in row[0]
        and not row[0].startswith(("..", "/"))
        and not (".dist-info/" in row[0] and row[0].endswith(own))
    ]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(sorted(kept))
    return out.getvalue()
