"""The archive that `flytectl register files` takes: entities as they were sent, numbered.

Its names are flytectl's (`<index>_<name>_{1,2,3}.pb`, register_util.go): tasks, workflows, launch
plans. Everything in it is resolved already, so flytectl has no placeholder to fill in.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence

from flyteidl.admin.launch_plan_pb2 import LaunchPlan, LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier

_KINDS = {TaskSpec: 1, WorkflowSpec: 2, LaunchPlanSpec: 3}


def flytectl_archive(
    entities: Sequence[tuple[Identifier, TaskSpec | WorkflowSpec | LaunchPlanSpec]],
) -> bytes:
    """A .tgz of `entities`, in the order in which they can be registered; the same bytes always."""
    packed = io.BytesIO()
    width = len(str(len(entities)))
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for number, (identifier, spec) in enumerate(entities):
            message = LaunchPlan(id=identifier, spec=spec) if _is_plan(spec) else spec
            data = message.SerializeToString(deterministic=True)
            # flytectl sorts by name, and the index is what it sorts by.
            name = f"{number:0{width}d}_{identifier.name}_{_KINDS[type(spec)]}.pb"
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


def _is_plan(spec: object) -> bool:
    return isinstance(spec, LaunchPlanSpec)
