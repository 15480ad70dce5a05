"""The runtime package and the launcher, laid out in the store, where every sandbox has them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from mfbuild.engine.store import Store, remove_tree

_HERE = Path(__file__).parent
LAUNCHER = "launcher.py"


def lay_runtime(store: Store) -> Path:
    """A folder with `lib/mfbuild_runtime` (for PYTHONPATH) and `launcher.py`, by content.

    They lie in a folder of their own: beside this package its modules would be importable by
    name, and a path that stays the same lets their bytecode be kept.
    """
    runtime = _HERE.parents[1] / "runtime"
    files = {f"lib/mfbuild_runtime/{p.name}": p for p in sorted(runtime.glob("*.py"))}
    files[LAUNCHER] = _HERE / LAUNCHER
    contents = {name: path.read_bytes() for name, path in files.items()}
    digest = hashlib.sha256()
    for name, data in sorted(contents.items()):
        digest.update(b"%s\0%d\0" % (name.encode(), len(data)) + data)
    folder = store.root / "toolbox" / digest.hexdigest()[:32]
    if not _holds(folder, contents):
        remove_tree(folder)
        with store.temporary() as scratch:
            for name, data in contents.items():
                (scratch / "new" / name).parent.mkdir(parents=True, exist_ok=True)
                (scratch / "new" / name).write_bytes(data)
            folder.parent.mkdir(exist_ok=True)
            try:
                os.rename(scratch / "new", folder)  # noqa: PTH104 - never onto a full folder
            except OSError:
                if not folder.is_dir():  # else another process was quicker
                    raise
    return folder


def _holds(folder: Path, contents: Mapping[str, bytes]) -> bool:
    """Whether the files of `folder` are these; what Python keeps beside them aside."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return found == contents
