"""Prints the logs of a run's tasks, from Metaflow's datastore.

Runs in the user's interpreter (3.8 or newer) and imports nothing of mfbuild. Its one argument is
JSON: `flow`, `run`, `follow`; `step`, `task`, `attempt`, null for all that there are; `datastore`,
its type and root, null for that of the settings. Lines go to stdout as `<step>/<task>: <text>`,
stderr's with `!` for `:`, in the order of their times. With `follow` it looks again until its
stdin is closed, and once more.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 1.0
_LOG = re.compile(r"(\d+)\.(?:runtime|task)_(stdout|stderr)\.log\Z")
_MARKS = {"stdout": ":", "stderr": "!"}


def main() -> None:
    request = json.loads(sys.argv[1])
    storage = _storage(*(request["datastore"] or (None, None)))
    root = storage.path_join(request["flow"], request["run"])
    printed: dict[str, int] = {}
    while True:
        last = not request["follow"] or _is_closed()
        lines: list[tuple[Any, str]] = []
        for step in [request["step"]] if request["step"] else _folders(storage, root):
            known = [request["task"]] if request["task"] else None
            for task in known or _folders(storage, storage.path_join(root, step)):
                where = storage.path_join(root, step, task)
                lines += _lines(storage, where, f"{step}/{task}", request["attempt"], printed)
        for _, text in sorted(lines, key=lambda line: line[0]):
            sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        if last:
            return


def _storage(wanted: str | None, root: str | None) -> Any:
    """The storage of this type and root; by default of Metaflow's settings in this process."""
    config: Any = import_module("metaflow.metaflow_config")
    kinds: Any = import_module("metaflow.plugins").DATASTORES
    name = wanted or config.DEFAULT_DATASTORE
    (kind,) = [each for each in kinds if name == each.TYPE]
    root = root or kind.get_datastore_root_from_config(
        lambda *told, **how: None, create_on_absent=False
    )
    if root is None:
        sys.exit(f"Metaflow's datastore `{kind.TYPE}` has no root here")
    return kind(root)


def _folders(storage: Any, folder: str) -> list[str]:
    return sorted(name for name, is_file in _names(storage, folder) if not is_file)


def _names(storage: Any, folder: str) -> Iterator[tuple[str, bool]]:
    for entry in storage.list_content([folder]):
        yield storage.basename(entry.path.rstrip("/")), entry.is_file


def _lines(
    storage: Any, folder: str, task: str, attempt: int | None, printed: dict[str, int]
) -> Iterator[tuple[Any, str]]:
    """What the logs of one task have beyond the lines that were printed, each with its time.

    `attempt` is the only one that counts, if it is not None.
    """
    merge: Any = import_module("metaflow.mflog.mflog").merge_logs
    logs: dict[tuple[int, str], list[str]] = {}
    for name, is_file in _names(storage, folder):
        found = _LOG.match(name) if is_file else None
        if found and attempt in (None, int(found[1])):
            logs.setdefault((int(found[1]), found[2]), []).append(storage.path_join(folder, name))
    for (number, stream), paths in sorted(logs.items()):
        lines = list(merge([_content(storage, path) for path in paths]))
        key = f"{task} {number} {stream}"
        where = f"{task}[{number}]" if number else task
        for line in lines[printed.get(key, 0) :]:
            text = line.msg.decode("utf-8", "replace")
            yield line.utc_tstamp, f"{where}{_MARKS[stream]} {text}"
        printed[key] = len(lines)


def _content(storage: Any, path: str) -> bytes:
    with storage.load_bytes([path]) as loaded:
        for _, file, _ in loaded:
            if file is not None:
                with open(file, "rb") as log:  # noqa: PTH123 - the path is Metaflow's
                    return log.read()
    return b""


def _is_closed() -> bool:
    """Whether nobody follows any more; waits a moment for that."""
    ready, _, _ = select.select([sys.stdin], [], [], _SECONDS)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # it ends without a word where nobody reads
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")  # of whatever storage it is
