"""A flow's entities, registered in an embedded backend; also as a process of its own.

usage: python -m tests.local.registering WORKSPACE MODE [NUMBER]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier

from mfbuild.bundle.read import read_bundle
from mfbuild.engine.store import Store
from mfbuild.errors import MfbuildError
from mfbuild.flow.spec import Resources
from mfbuild.flyte import names
from mfbuild.flyte.backend import Spec
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.resolve import Resolved, Site, resolve
from mfbuild.local.embedded.backend import EmbeddedBackend
from mfbuild.local.embedded.registrations import EmbeddedRegistrations
from tests.children import arguments, kill_at, limit_files, ready, say
from tests.specs import flow, step

PROJECTS = {"local": ("staging", "production")}
FIRST, SECOND = "1" * 40, "2" * 40
CODE = b"code of "


def backend(root: Path, **changes: Any) -> EmbeddedBackend:
    """The backend of the workspace `root`; steps run in the interpreter of the tests."""
    with closing(Store.open(root / "store")) as store:
        given = {
            "projects": PROJECTS,
            "sandbox": "host",
            "environ": dict(os.environ),
            "warn": unwarned,
            **changes,
        }
        return EmbeddedBackend(root, store, **given)


def unwarned(message: str) -> None:
    raise AssertionError(message)


def resolved(version: str = FIRST, prefix: str = "", memory: int = 100, code: str = "") -> Resolved:
    """The entities of a flow of three steps, one of which asks for `memory`."""
    spec = flow(
        step("start", kind="start", next=("train",)),
        replace(step("train", next=("end",)), resources=Resources(memory=memory)),
        step("end", kind="end"),
    )
    images = {s.name: f"mfbuild/trainflow@sha256:{'0' * 64}" for s in spec.steps}
    site = Site("local", "staging", images, environment={}, prefix=prefix)
    found = resolve(compile_flow(spec), site, version=version)
    return found.with_addresses({names.CODE: code or "file:///code#sha256=0", names.PLAN: ""})


def entities(found: Resolved) -> Iterator[tuple[Identifier, Spec]]:
    """All that is registered of a flow, in the order in which that is possible."""
    for task in found.tasks.values():
        yield task.id, TaskSpec(template=task)
    for workflow in (*found.sub_workflows, found.workflow):
        yield workflow.id, WorkflowSpec(template=workflow, sub_workflows=found.sub_workflows)
    yield found.launch_plan_id, found.launch_plan


def register(registrations: EmbeddedRegistrations, found: Resolved) -> list[bool]:
    """Register a flow, and make it the active one; which of its entities were new."""
    created = [registrations.create(*entity) for entity in entities(found)]
    registrations.set_active(found.launch_plan_id, active=True)
    return created


def push_twice(
    registrations: EmbeddedRegistrations, told: Callable[[str], None] = lambda line: None
) -> None:
    """Two versions of a flow, one after the other."""
    for version, memory in ((FIRST, 100), (SECOND, 200)):
        url = registrations.upload("local", "staging", "code", CODE + version.encode())
        created = register(registrations, resolved(version, memory=memory, code=f"{url}#sha256=0"))
        told(json.dumps([version, created]))


def main() -> int:
    root, mode, number = arguments()
    registrations = backend(root).registrations
    if mode in ("kill", "keep"):
        kill_at(root / ".mfbuild", number)
    if mode == "keep":
        (path,) = root.glob("dist/TrainFlow-*")
        backend(root).keep_bundle(read_bundle(path))
    if mode == "race":
        ready()
    if mode == "full":
        limit_files(number)
    if mode == "flip":
        push_twice(registrations)
        say("ready")
        for turn in range(number):
            version = (FIRST, SECOND)[turn % 2]
            registrations.set_active(resolved(version).launch_plan_id, active=True)
        return 0
    try:
        push_twice(registrations, say)
    except MfbuildError as error:
        say(json.dumps([str(error), error.problems[0].where]))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
