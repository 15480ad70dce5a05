"""Values that somebody else wrote: JSON parsed whatever it is, and strings that nobody can use."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 100
"""Objects and arrays inside each other; what is written here has a tenth of that."""


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text; ValueError, without quoting the text, for everything else.

    That is also what is no UTF-8, has a number of too many digits, or is nested deeper than
    MAX_DEPTH, which would end the stack of whoever walks over the value.
    """
    try:
        value = json.loads(data)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"


def _inside(value: Any) -> list[Any]:
    """The objects and arrays in an object or array."""
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value  # type: ignore[assignment]
    else:
        return []
    return [item for item in inner if isinstance(item, (dict, list))]


def has_nul(value: Any) -> bool:
    """Whether a string in a value of JSON or TOML holds NUL, which no path or variable can have."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(has_nul(key) or has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(has_nul, value))
