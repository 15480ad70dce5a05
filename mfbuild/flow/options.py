"""Metaflow's top-level options in the words of a command line, as click reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

_VALUES = {
    **dict.fromkeys(("--quiet", "--not-quiet", "--pylint", "--no-pylint", "--production"), 0),
    **dict.fromkeys(("--force-rebuild-environments", "--no-force-rebuild-environments"), 0),
    **dict.fromkeys(("--metadata", "--environment", "--datastore", "--datastore-root"), 1),
    **dict.fromkeys(("--package-suffixes", "--with", "--event-logger", "--monitor"), 1),
    **dict.fromkeys(("--local-config-file", "--mode", "--branch", "--trigger"), 1),
    **dict.fromkeys(("--config", "--config-value"), 2),
}
"""How many values each has (metaflow/cli.py, `start`; user_configs; @project)."""

BOOLEANS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}
"""The words that click takes for a flag in a variable, and Metaflow for a Parameter."""


@dataclass(frozen=True, slots=True)
class FlowOption:
    """One option: its `name` (`--branch`), its values, and the `words` that say it."""

    name: str
    values: tuple[str, ...]
    words: tuple[str, ...]


def flow_options(words: Sequence[str]) -> Iterator[FlowOption]:
    """The options that `words` are, in their order.

    Metaflow's own have as many values as click takes for them, whatever these look like; those of
    another option go on to the next word that begins with `--`.
    """
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        given = [value] if equals else []
        count = _VALUES.get(name)
        if count is None:
            following = [] if equals else list(takewhile(lambda w: not w.startswith("--"), rest))
        else:
            following = rest[: max(0, count - len(given))]
        del rest[: len(following)]
        yield FlowOption(name, (*given, *following), (word, *following))


def value_of(words: Sequence[str], name: str) -> str | None:
    """What `words` say last of the option `name`, which has one value; None if nothing."""
    found = [o.values[0] for o in flow_options(words) if o.name == name and o.values]
    return found[-1] if found else None
