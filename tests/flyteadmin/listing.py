"""Lists: filters, order and pages."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flyteidl.admin.common_pb2 import Sort

from tests.flyteadmin.refusals import invalid, invalid_argument
from tests.flyteadmin.state import Row

_BASE = frozenset({"id", "created_at", "updated_at", "deleted_at"})
_NAMED = _BASE | {"project", "domain", "name", "version"}
COLUMNS: Mapping[str, frozenset[str]] = {
    "task": _NAMED | {"closure", "digest", "type", "short_description"},
    "workflow": _NAMED
    | {"typed_interface", "remote_closure_identifier", "digest", "short_description"},
    "launch_plan": _NAMED
    | {"spec", "workflow_id", "closure", "state", "digest", "schedule_type",
       "launch_condition_type"},
    "execution": _BASE
    | {"execution_project", "execution_domain", "execution_name", "project", "domain", "name",
       "launch_plan_id", "workflow_id", "task_id", "phase", "closure", "spec", "started_at",
       "execution_created_at", "execution_updated_at", "duration", "abort_cause", "mode",
       "source_execution_id", "parent_node_execution_id", "cluster", "inputs_uri",
       "user_inputs_uri", "error_kind", "error_code", "user", "state", "launch_entity"},
    "node_execution": _BASE
    | {"execution_project", "execution_domain", "execution_name", "project", "domain", "name",
       "node_id", "phase", "input_uri", "closure", "started_at", "node_execution_created_at",
       "node_execution_updated_at", "duration", "parent_id", "error_kind", "error_code"},
    "task_execution": _BASE
    | {"project", "domain", "name", "version", "execution_project", "execution_domain",
       "execution_name", "node_id", "retry_attempt", "phase", "phase_version", "input_uri",
       "closure", "started_at", "task_execution_created_at", "task_execution_updated_at",
       "duration"},
    "project": _BASE | {"identifier", "name", "description", "labels", "state"},
}  # fmt: skip
"""What can be filtered and sorted by: the columns of flyteadmin's models."""

JOINED: Mapping[str, frozenset[str]] = {
    "execution": frozenset({"launch_plan", "workflow", "task"}),
    "launch_plan": frozenset({"workflow"}),
    "node_execution": frozenset({"execution"}),
    "task_execution": frozenset({"task", "execution", "node_execution"}),
}
"""Of which other entity a filter may name columns, as `<entity>.<column>`."""

_FILTER = re.compile(r"(.+)\((.+),\s?(.+)\)")
_ONE: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "contains": lambda found, wanted: str(wanted) in str(found),
    "not_like": lambda found, wanted: str(wanted) not in str(found),
}
_MANY: Mapping[str, Callable[[Any, Any], Any]] = {
    "value_in": lambda found, wanted: found in wanted,
    "value_not_in": lambda found, wanted: found not in wanted,
}


def matching(rows: Iterable[Row], kind: str, filters: str) -> list[Row]:
    """The rows that all `filters` let through, `+` between them; refused where one is none."""
    found = list(rows)
    for expression in filters.split("+") if filters else ():
        parts = _FILTER.search(expression)
        if not parts:
            raise invalid_argument("filters")
        function, field, written = parts.groups()
        column = _column(kind, field)
        found = [row for row in found if _matches(function, row.columns.get(column), written)]
    return found


def ordered(rows: Sequence[Row], kind: str, sort: Sort | None) -> list[Row]:
    """The rows as asked for; of equal ones those that were written first come first."""
    if sort is None:
        return list(rows)
    if sort.key not in COLUMNS[kind]:
        raise invalid(f"invalid sort key '{sort.key}'")
    return sorted(
        rows,
        key=lambda row: (_comparable(row.columns.get(sort.key)), row.written),
        reverse=sort.direction == Sort.DESCENDING,
    )


def page(rows: Sequence[Row], limit: int, token: str, call: str) -> tuple[list[Row], str]:
    """The rows from `token` on, at most `limit`, and the token of the next ones.

    As in flyteadmin a full page always has a token, even where nothing comes after it.
    """
    if token and not re.fullmatch(r"[+-]?\d+", token):
        raise invalid(f"invalid pagination token {token} for {call}")
    offset = int(token or 0)
    if offset < 0:
        raise invalid(f"invalid pagination token {token} for {call}")
    found = list(rows[offset : offset + limit] if limit else rows[offset:])
    return found, str(offset + len(found)) if len(found) == limit else ""


def _column(kind: str, field: str) -> str:
    """The column's name; one of another entity has that before it."""
    entity, dot, column = field.rpartition(".")
    entity = entity if dot else kind
    if entity not in JOINED.get(kind, frozenset()) | {kind}:
        raise invalid(f"'{entity}' entity is not allowed in filters")
    if column not in COLUMNS[entity]:
        raise invalid(f"'{entity}.{column}' is invalid filter")
    return column if entity == kind else field


def _matches(function: str, found: Any, written: str) -> bool:
    values = [_value(found, text) for text in written.split(";")]
    if function in _MANY:
        return bool(_MANY[function](found, values))
    if function not in _ONE:
        raise invalid(f"unrecognized filter function: {function}")
    if found is None:  # as NULL in SQL
        return False
    return bool(_ONE[function](found, values[0]))


def _value(found: Any, written: str) -> Any:
    """What was written, as the type that the column has."""
    if isinstance(found, int):
        return int(written) if written.lstrip("-").isdigit() else written
    if isinstance(found, datetime):
        try:
            return datetime.fromisoformat(written.replace("Z", "+00:00"))
        except ValueError:
            raise invalid(f"Timestamp {written} must conform to RFC3339 Nano spec") from None
    return written


def _comparable(value: Any) -> tuple[bool, Any]:
    return (value is None, 0 if value is None else value)
