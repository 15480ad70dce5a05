"""What a flyteadmin keeps, in memory."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flyteidl.admin.project_pb2 import Domain, Project
from flyteidl.core.identifier_pb2 import Identifier
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from tests.flyteadmin.executor import Executor, Nobody

Key = tuple[str, str, str, str]
"""Project, domain, name and version."""


def key_of(identifier: Identifier) -> Key:
    """Identifiers differ by type too, but each type has a table of its own."""
    return identifier.project, identifier.domain, identifier.name, identifier.version


def digest_of(message: Any) -> str:
    """The structural digest of a message.

    Flyte's own (flytestdlib/pbhash) is another hash over the same JSON, which drops empty fields
    and knows no order of keys; so both tell the same messages apart.
    """
    plain = json.dumps(MessageToDict(message), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def now() -> Timestamp:
    """The time, as messages have it."""
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


@dataclass
class Row:
    """An entity or an execution: `message` is what Get answers, `columns` what lists filter by.

    `sent` are a workflow's templates before they were compiled; `written` numbers the rows of a
    table by when they were last written.
    """

    message: Any
    columns: dict[str, Any]
    digest: str = ""
    sent: Any = None
    written: int = 0


@dataclass
class Table:
    """Rows by key. Without an order, a list has them as PostgreSQL has: last written last."""

    kind: str
    rows: dict[tuple[str, ...], Row] = field(default_factory=dict)
    _serial: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def write(self, key: tuple[str, ...], row: Row) -> None:
        """Put a row in, or note that it has changed."""
        row.written = next(self._serial)
        row.columns.setdefault("id", row.written)
        self.rows[key] = row

    def in_order(self) -> list[Row]:
        """All rows, last written last."""
        return sorted(self.rows.values(), key=lambda row: row.written)


@dataclass
class State:
    """All tables, what flyteadmin's configuration says, and who runs executions.

    To be held by `lock`.
    """

    projects: dict[str, Project]
    domains: tuple[Domain, ...]
    limits: Mapping[str, str]
    executor: Executor = field(default_factory=Nobody)
    lock: threading.RLock = field(default_factory=threading.RLock)
    tasks: Table = field(default_factory=lambda: Table("TASK"))
    workflows: Table = field(default_factory=lambda: Table("WORKFLOW"))
    launch_plans: Table = field(default_factory=lambda: Table("LAUNCH_PLAN"))
    executions: Table = field(default_factory=lambda: Table("execution"))
    node_executions: Table = field(default_factory=lambda: Table("node execution"))
    task_executions: Table = field(default_factory=lambda: Table("task execution"))
