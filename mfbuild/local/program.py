"""A packaged flow as the interpreter takes it: its workflow, and what that starts with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.core.literals_pb2 import Literal

from mfbuild.engine.model import Blob, Digest
from mfbuild.engine.store import blob_of
from mfbuild.errors import BundleError
from mfbuild.files import write_atomically
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.literals import literal
from mfbuild.flyte.names import CODE, PLAN
from mfbuild.flyte.resolve import Resolved, Site, resolve
from mfbuild.flyte.templates import Compiled, address
from mfbuild.local.parameters import Value
from mfbuild.local.record.state import HERE
from mfbuild.local.run_source import RunSource, keep_file
from mfbuild.local.workflow.model import Closure, Library, Values
from mfbuild.oci.layout import Extent, verified
from mfbuild.runtime.inputs import input_name


@dataclass(frozen=True, slots=True)
class Program:
    """A workflow that can be run: with everything that it refers to, and what it starts with.

    `addresses` are those of the code and the plan beside the run; every task gets these.
    """

    closure: Closure
    inputs: Values
    addresses: Values


def program_of(
    packaged: RunSource, prefix: str, given: Mapping[str, Value], folder: Path
) -> Program:
    """A flow with the Parameters `given`; what it needs besides is laid into `folder`.

    BundleError if its templates cannot be read, or if the code is not what its digest promises;
    OSError if the disk refuses.
    """
    images = {step: name for name, step in packaged.images.items()}
    site = Site(HERE, HERE, images, environment={}, prefix=prefix)
    resolved = resolve(Compiled.decode(packaged.templates), site, version=packaged.version)
    addresses = {
        CODE: lay(packaged.code, packaged.code_digest, folder / "code"),
        PLAN: _lay_plan(resolved, folder / "plan"),
    }
    values = {input_name(name): literal(value) for name, value in given.items()}
    tasks = resolved.tasks.values()
    return Program(
        closure=Closure(resolved.workflow, Library.of(tasks, resolved.sub_workflows)),
        inputs={
            **workflow_inputs(resolved.launch_plan, kept(packaged.spec, values, folder)),
            **addresses,
        },
        addresses=addresses,
    )


def workflow_inputs(launch_plan: LaunchPlanSpec, given: Values) -> Values:
    """What an execution starts with: defaults, then the given values, then what is fixed."""
    defaults = {
        name: parameter.default
        for name, parameter in launch_plan.default_inputs.parameters.items()
        if parameter.WhichOneof("behavior") == "default"
    }
    return {**defaults, **given, **dict(launch_plan.fixed_inputs.literals)}


def kept(spec: FlowSpec, values: Values, folder: Path) -> Values:
    """`values` with copies in `folder` of the files that they name: every step can read these."""
    found = dict(values)
    for parameter in spec.parameters:
        name = input_name(parameter.name)
        path = values[name].scalar.primitive.string_value if name in values else ""
        if parameter.type == "file" and path.startswith("/"):
            found[name] = literal(keep_file(path, folder, parameter.name))
    return found


def lay(content: Extent, digest: Digest, target: Path) -> Literal:
    """The address of a file of its own with `content`: a run must not depend on what is packaged.

    It is called like `target`, with the digest behind that. BundleError if the content is not that
    of `digest`; OSError.
    """
    path = target.with_name(f"{target.name}-{digest.hex[:16]}")
    if not _is(path, digest):
        message = f"the {target.name} `{digest}` has changed"
        changed = BundleError(message, where=str(content.path))
        pieces = verified(content.chunks(), Blob(digest, content.size), changed)
        write_atomically(path, pieces, mode=None)
    return literal(address(path.as_uri(), digest))


def _is(path: Path, digest: Digest) -> bool:
    """Whether the file `path` is there with this content."""
    try:
        return blob_of(path).digest == digest
    except FileNotFoundError:
        return False


def _lay_plan(resolved: Resolved, target: Path) -> Literal:
    plan = resolved.expansion_plan
    if plan is None:
        return literal("")
    path = target.with_name(f"{target.name}-{Digest.of(plan).hex[:16]}")
    write_atomically(path, plan)
    return literal(address(path.as_uri(), Digest.of(plan)))
