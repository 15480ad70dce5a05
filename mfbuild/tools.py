"""The tools by name: each a function that makes bytes, and its version.

A version is raised whenever a tool's bytes change for the same inputs; the golden digests under
tests/golden hold both together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from mfbuild.engine.model import Tool, Work


def _tool(version: int, where: str) -> Tool:
    """The function `module:name`, imported when it first runs: a cached build needs none."""
    module, _, name = where.partition(":")

    def run(work: Work) -> None:
        function: Callable[[Work], None] = getattr(import_module(module), name)
        function(work)

    return Tool(version, run)


TOOLS: Mapping[str, Tool] = {
    "debian.layer": _tool(1, "mfbuild.debian.layer:run"),
    "oci.copy": _tool(1, "mfbuild.oci.tree:copy"),
    "oci.image": _tool(1, "mfbuild.oci.image:image"),
    "oci.index": _tool(1, "mfbuild.oci.image:index"),
    "oci.tree": _tool(1, "mfbuild.oci.tree:run"),
    "python.pyc": _tool(1, "mfbuild.python.pyc:run"),
    "wheel.layer": _tool(1, "mfbuild.python.layer:run"),
}
