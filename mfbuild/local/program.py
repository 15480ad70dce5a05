"""What a run starts from: the compiled flow, its code, and where its images are."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flyteidl.core.literals_pb2 import Literal

from build_rules.code import code as code_of
from mfbuild.analyze import FlowInput, flyte_templates
from mfbuild.bundle.model import VERSION_DIGITS
from mfbuild.bundle.read import Bundle
from mfbuild.engine.graph import Graph
from mfbuild.engine.model import Digest, canonical
from mfbuild.engine.run import run
from mfbuild.errors import BundleError
from mfbuild.flow.codec import from_public_json
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.compile import Compiled
from mfbuild.flyte.literals import literal
from mfbuild.flyte.names import CODE, PLAN
from mfbuild.flyte.resolve import Resolved, Site, resolve
from mfbuild.loading import LoadedFlow, Session
from mfbuild.local.contract import write_whole
from mfbuild.local.model import Closure, Library
from mfbuild.oci.layout import Extent, blob_name
from mfbuild.sources import read_sources
from mfbuild.tools import TOOLS

PROJECT, DOMAIN = "local", "local"
_IMAGE = "mfbuild:"


@dataclass(frozen=True, slots=True)
class Program:
    """A flow that can be run here.

    `images` maps the names in its tasks to steps; they are in `bundle`, unless the flow is one that
    was not packaged. `pythons` are the versions (`3.11`) that steps are to have, where known.
    """

    spec: FlowSpec
    version: str
    resolved: Resolved
    images: Mapping[str, str]
    code: Extent
    code_digest: Digest
    pythons: Mapping[str, str]
    bundle: Bundle | None

    @property
    def closure(self) -> Closure:
        """The workflow with everything that it refers to."""
        tasks = self.resolved.tasks.values()
        return Closure(self.resolved.workflow, Library.of(tasks, self.resolved.sub_workflows))


def program_of(bundle: Bundle) -> Program:
    """The flow of `bundle`; BundleError if its compiled templates or its code are missing."""
    manifest, layout = bundle.manifest, bundle.layout
    compiled = Compiled.decode(layout.blob(manifest.flyte.digest))
    code = layout.files.get(blob_name(manifest.code.digest))
    if code is None:
        raise BundleError(f"the code `{manifest.code.digest}` is missing", where=str(layout.path))
    try:
        spec = from_public_json(manifest.spec)
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"the flow in `{layout.path}` cannot be read: {error}") from error
    resolved, images = _resolved(compiled, manifest.version)
    pythons = {step.name: step.python for step in spec.steps if step.python}
    return Program(
        spec, manifest.version, resolved, images, code, manifest.code.digest, pythons, bundle
    )


def unpackaged(session: Session, flow: LoadedFlow) -> Program:
    """A flow of which nothing but the code and the templates are made: no image, no download."""
    entries, _ = read_sources(flow.spec, session.config.store / "stat.json")
    options = session.options.flow_options
    given = FlowInput(flow.label, flow.spec, flow.needs, entries, (), options)
    tarball, templates = code_of(flow.label, entries), flyte_templates(given, session.config)
    goals = (tarball.provider.tarball, templates.provider.templates)
    results = run(
        Graph((*tarball.actions, *templates.actions)),
        goals,
        TOOLS,
        {},
        session.store,
        session.cache,
        session.reporter,
        jobs=session.config.jobs,
        fresh=session.options.fresh,
    )
    code, compiled = (results[goal.label].outputs[goal.name] for goal in goals)
    version = Digest.of(f"{code.digest} {compiled.digest}".encode()).hex[:VERSION_DIGITS]
    template = Compiled.decode(session.store.verified(compiled).read_bytes())
    resolved, images = _resolved(template, version)
    extent = Extent(session.store.verified(code), 0, code.size)
    pythons = {step: need.base.python for step, need in flow.needs.items()}
    return Program(flow.spec, version, resolved, images, extent, code.digest, pythons, None)


def _resolved(compiled: Compiled, version: str) -> tuple[Resolved, dict[str, str]]:
    """The entities of a run here, and the step of each image that they name."""
    images = {step: f"{_IMAGE}{step}" for step in compiled.tasks}
    resolved = resolve(compiled, Site(PROJECT, DOMAIN, images, environment={}), version=version)
    return resolved, {name: step for step, name in images.items()}


def lay_inputs(program: Program, folder: Path) -> dict[str, Literal]:
    """Put the code and the plan of `program` into `folder`, and give their addresses.

    BundleError if the code is not what its digest promises; OSError if the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = program.code_digest
    code = _take(program.code, digest, folder / f"code-{digest.hex[:16]}")
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
