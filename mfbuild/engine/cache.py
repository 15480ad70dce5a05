"""The action cache: the result for each key, and each workspace's last record for each label."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mfbuild.engine.kept import checked, with_checksum
from mfbuild.engine.key import Record
from mfbuild.engine.model import ActionResult, Blob, Digest, canonical
from mfbuild.engine.store import Store, note_use, store_error

_T = TypeVar("_T")


class Cache:
    """Small files below the store's root; one that is damaged counts as absent.

    `ac/<2 hex>/<key>` holds the result as JSON, below its checksum (`engine.kept`).
    `history/<2 hex>/<sha256 of workspace and label>` holds a record's key, the record (of which
    the key is the sha256) and the reasons, a line each. `workspace` is any text that tells
    workspaces apart.
    """

    def __init__(self, store: Store, workspace: str) -> None:
        self._store = store
        self._workspace = workspace

    def get(self, key: Digest) -> ActionResult | None:
        """The result of the action with this key, if it is known."""
        data = b"\n".join(self._read(self._result_name(key)))
        return _unless_damaged(lambda: _parse_result(json.loads(checked(key.hex, data))))

    def put(self, key: Digest, result: ActionResult) -> None:
        """Remember the result of the action with this key; its blobs are in the store."""
        outputs = {
            name: {"digest": str(blob.digest), "size": blob.size}
            for name, blob in result.outputs.items()
        }
        line = canonical({"outputs": outputs}).encode()
        self._store.write(Path(self._result_name(key)), with_checksum(key.hex, line))

    def last(self, label: str) -> Record | None:
        """What went into `label` when it was last made, or found made, in this workspace."""
        lines = self._read(self._history_name(label))
        if len(lines) != 3 or Digest.of(lines[1]).hex.encode() != lines[0]:
            return None
        return _unless_damaged(
            lambda: Record.parse(lines[1].decode(), why=tuple(json.loads(lines[2])))
        )

    def is_last(self, label: str, key: Digest) -> bool:
        """Whether `last(label)` has this key."""
        return self._read(self._history_name(label))[0] == key.hex.encode()

    def remember(self, label: str, record: Record) -> None:
        """Make `record` the `last(label)`."""
        body = record.canonical()
        text = f"{Digest.of(body.encode()).hex}\n{body}\n{canonical(record.why)}"
        self._store.write(Path(self._history_name(label)), text.encode())

    def _read(self, name: str) -> list[bytes]:
        """The lines of a file ([b""] if there is none); it counts as used now."""
        try:
            with open(name, "rb", buffering=0) as file:  # noqa: PTH123 - see Store.has
                note_use(name, os.fstat(file.fileno()))
                return file.read().split(b"\n")
        except FileNotFoundError:
            return [b""]
        except OSError as error:
            raise store_error(error, Path(name)) from error

    def _result_name(self, key: Digest) -> str:
        return f"{self._store.root}/ac/{key.hex[:2]}/{key.hex}"

    def _history_name(self, label: str) -> str:
        name = Digest.of(f"{self._workspace}\0{label}".encode()).hex
        return f"{self._store.root}/history/{name[:2]}/{name}"


def _parse_result(value: Any) -> ActionResult:
    return ActionResult(
        {
            name: Blob(Digest.parse(blob["digest"]), int(blob["size"]))
            for name, blob in value["outputs"].items()
        }
    )


def _unless_damaged(parse: Callable[[], _T]) -> _T | None:
    try:
        return parse()
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
