"""What the tasks of a run have, by step, through Metaflow's client."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any


def artifacts(run: str) -> dict[str, list[str]]:
    """Of each step, the artifacts of each of its tasks as JSON, sorted."""
    client: Any = import_module("metaflow.client")
    client.namespace(None)
    steps = next(iter(client.Metaflow()))[run]
    return {step.id: sorted(json.dumps(_artifacts(task)) for task in step) for step in steps}


def _artifacts(task: Any) -> dict[str, str]:
    """All but the graph, which holds addresses of objects; Metaflow's own notes included."""
    return {a.id: repr(a.data) for a in sorted(task, key=lambda a: a.id) if a.id != "_graph_info"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(artifacts(sys.argv[1])))
