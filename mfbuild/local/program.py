"""What a run starts from: the compiled flow, its code, and where its images are."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flyteidl.core.literals_pb2 import Literal

from mfbuild.bundle.read import Bundle
from mfbuild.engine.model import Digest, canonical
from mfbuild.errors import BundleError
from mfbuild.flow.codec import from_public_json
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.compile import Compiled
from mfbuild.flyte.literals import literal
from mfbuild.flyte.names import CODE, PLAN
from mfbuild.flyte.resolve import Resolved, Site, resolve
from mfbuild.local.contract import write_whole
from mfbuild.local.model import Closure, Library
from mfbuild.oci.layout import Extent, blob_name

PROJECT, DOMAIN = "local", "local"
_IMAGE = "mfbuild:"


@dataclass(frozen=True, slots=True)
class Program:
    """A flow that can be run here. `images` maps the names in its tasks to steps."""

    spec: FlowSpec
    bundle: Bundle
    resolved: Resolved
    images: Mapping[str, str]

    @property
    def version(self) -> str:
        return self.bundle.manifest.version

    @property
    def closure(self) -> Closure:
        """The workflow with everything that it refers to."""
        tasks = self.resolved.tasks.values()
        return Closure(self.resolved.workflow, Library.of(tasks, self.resolved.sub_workflows))


def program_of(bundle: Bundle) -> Program:
    """The flow of `bundle`; BundleError if its compiled templates cannot be read."""
    manifest = bundle.manifest
    compiled = Compiled.decode(bundle.layout.blob(manifest.flyte.digest))
    try:
        spec = from_public_json(manifest.spec)
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"the flow in `{bundle.layout.path}` cannot be read: {error}") from error
    images = {step: f"{_IMAGE}{step}" for step in compiled.tasks}
    site = Site(PROJECT, DOMAIN, images, environment={})
    resolved = resolve(compiled, site, version=manifest.version)
    return Program(spec, bundle, resolved, {name: step for step, name in images.items()})


def lay_inputs(program: Program, folder: Path) -> dict[str, Literal]:
    """Put the code and the plan of `program` into `folder`, and give their addresses.

    BundleError if the code is not what its digest promises; OSError if the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = program.bundle.manifest.code.digest
    extent = program.bundle.layout.files.get(blob_name(digest))
    if extent is None:
        raise BundleError(f"the code `{digest}` is missing", where=str(program.bundle.layout.path))
    code = _take(extent, digest, folder / f"code-{digest.hex[:16]}")
    found = {CODE: _address(code, digest), PLAN: ""}
    if program.resolved.plan is not None:
        plan = canonical(program.resolved.plan).encode()
        path = folder / f"plan-{Digest.of(plan).hex[:16]}"
        write_whole(path, plan)
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


def keep_file(path: str, folder: Path, name: str) -> str:
    """A copy of the file `path` in `folder`, where every step can read it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{Path(path).name}"
    shutil.copyfile(path, target)
    return str(target)
