"""The names of a task's inputs on the wire: what travels, where a step stands, and Parameters."""

from __future__ import annotations

import re

PREFIX = "_"
"""Of every input that is no Parameter: short, as futures.pb repeats it, and no `-` or `.`, since
Flyte's clients take the name of an input for that of a variable in Python."""

_PLAIN = re.compile("[A-Za-z][A-Za-z0-9_]*")


def input_name(parameter: str) -> str:
    """The input that carries a Parameter: the name with `_` for `-`.

    Where that is not ASCII, or begins like an input of mfbuild's own, the UTF-8 of the name in
    hex. So it is one to one, but for `-` and `_`, which Metaflow's command line confuses too.
    """
    name = parameter.replace("-", "_")
    if _PLAIN.fullmatch(name):
        return name
    return f"{PREFIX}parameter_{parameter.encode('utf-8').hex()}"
