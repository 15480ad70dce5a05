"""What to write where a task asks for more than a Flyte allows."""

from __future__ import annotations

import re

from flyteidl.core.identifier_pb2 import Identifier

from mfbuild.flyte.names import base_name
from mfbuild.flyte.quantities import is_quantity, number

# flyteadmin, pkg/manager/impl/validation/task_validator.go
_REFUSED = re.compile(
    r"Requested (\w[\w-]*) (?:default|limit) \[[^]]*\] is greater than current limit set in the "
    r"platform configuration \[([^]]*)\]"
)
_KEYS = {"cpu": "cpu", "memory": "memory", "ephemeral_storage": "disk", "gpu": "gpu"}
_MEBIBYTE = 1 << 20


def limit_hint(words: str, task: Identifier) -> str | None:
    """The lines of BUILD.toml with which Flyte would take `task`, by the words of its refusal;
    None for any other refusal."""
    found = _REFUSED.search(words)
    key = _KEYS.get(found[1].lower().replace("-", "_")) if found else None
    if found is None or key is None or not is_quantity(found[2]):
        return None
    most = number(found[2])
    amount = int(most) // _MEBIBYTE if key in ("memory", "disk") else most
    step = base_name(task.name)
    others = f"`[domain.{task.domain}]` of BUILD.toml, for steps that ask for none, or below "
    return (
        f"it allows at most {found[2]}: write `resources = {{ {key} = {amount} }}` below "
        f'{"" if key == "gpu" else others}`[target."//….py:{step}"]`, for this one'
    )
