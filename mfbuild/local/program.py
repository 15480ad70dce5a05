"""A packaged flow as the interpreter takes it: its workflow, and the addresses of its inputs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.core.literals_pb2 import Literal

from mfbuild.engine.model import Digest, canonical
from mfbuild.engine.statcache import write_atomically
from mfbuild.errors import BundleError
from mfbuild.flyte.compile import Compiled
from mfbuild.flyte.literals import literal
from mfbuild.flyte.names import CODE, PLAN, input_name
from mfbuild.flyte.resolve import Resolved, Site, resolve
from mfbuild.local.model import Closure, Library, Values
from mfbuild.local.packaged import Packaged
from mfbuild.oci.layout import Extent

PROJECT, DOMAIN = "local", "local"


@dataclass(frozen=True, slots=True)
class Program:
    """A packaged flow with its entities, resolved for runs here."""

    packaged: Packaged
    resolved: Resolved

    @property
    def closure(self) -> Closure:
        """The workflow with everything that it refers to."""
        tasks = self.resolved.tasks.values()
        return Closure(self.resolved.workflow, Library.of(tasks, self.resolved.sub_workflows))


def program_of(packaged: Packaged) -> Program:
    """The entities of `packaged`; BundleError if its templates cannot be read."""
    compiled = Compiled.decode(packaged.templates)
    images = {step: name for name, step in packaged.images.items()}
    site = Site(PROJECT, DOMAIN, images, environment={})
    return Program(packaged, resolve(compiled, site, version=packaged.version))


def workflow_inputs(
    launch_plan: LaunchPlanSpec, values: Mapping[str, str | int | float | bool]
) -> Values:
    """What an execution starts with: defaults, then the given values, then what is fixed."""
    defaults = {
        name: parameter.default
        for name, parameter in launch_plan.default_inputs.parameters.items()
        if parameter.WhichOneof("behavior") == "default"
    }
    given = {input_name(name): literal(value) for name, value in values.items()}
    return {**defaults, **given, **dict(launch_plan.fixed_inputs.literals)}


def lay_inputs(program: Program, folder: Path) -> dict[str, Literal]:
    """Put the code and the plan of `program` into `folder`, and give their addresses.

    BundleError if the code is not what its digest promises; OSError if the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = program.packaged.code_digest
    code = _take(program.packaged.code, digest, folder / f"code-{digest.hex[:16]}")
    found = {CODE: _address(code, digest), PLAN: ""}
    if program.resolved.plan is not None:
        plan = canonical(program.resolved.plan).encode()
        path = folder / f"plan-{Digest.of(plan).hex[:16]}"
        write_atomically(path, plan)
        found[PLAN] = _address(path, Digest.of(plan))
    return {name: literal(address) for name, address in found.items()}


def _take(extent: Extent, digest: Digest, target: Path) -> Path:
    """A file of its own with the bytes of `extent`: a run must not depend on what is packaged."""
    if target.exists():
        return target
    found = hashlib.sha256()
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    with beside.open("wb") as file:
        for chunk in extent.chunks():
            found.update(chunk)
            file.write(chunk)
    if found.hexdigest() != digest.hex:
        beside.unlink()
        raise BundleError(f"the code `{digest}` has changed", where=str(extent.path))
    beside.replace(target)
    return target


def _address(path: Path, digest: Digest) -> str:
    return f"{path.as_uri()}#sha256={digest.hex}"
