"""What a run runs: the spec, code, templates and images of a flow, and its entities and inputs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mfbuild.build.load import LoadedFlow
from mfbuild.build.session import Session
from mfbuild.bundle.model import VERSION_DIGITS
from mfbuild.bundle.read import Bundle
from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError
from mfbuild.flow.spec import FlowSpec
from mfbuild.local.parameters import Value
from mfbuild.oci.layout import Extent, blob_name

if TYPE_CHECKING:
    from mfbuild.local.program import Program


@dataclass(frozen=True, slots=True)
class RunSource:
    """A flow that can be run here.

    `templates` are the compiled ones, not decoded yet. `pythons` are the versions (`3.11`) that
    steps are to have, where known. The images are in `bundle`, which is None where none were made;
    `images` has the step of each by the name that it has in the tasks of the run.
    """

    spec: FlowSpec
    version: str
    templates: bytes
    code: Extent
    code_digest: Digest
    pythons: Mapping[str, str]
    bundle: Bundle | None
    images: Mapping[str, str]

    def image_of(self, step: str) -> str:
        """What the tasks of the run call the image of a step."""
        return next(name for name, found in self.images.items() if found == step)


class Runnable(Protocol):
    """What is to be run, wherever its entities come from."""

    @property
    def packaged(self) -> RunSource:
        """The flow, and the images of its steps."""

    @property
    def first_image(self) -> str:
        """What the first task calls its image."""

    def program(self, folder: Path) -> Program:
        """The workflow and its inputs, with what it needs of files laid into `folder`; OSError."""


@dataclass(frozen=True, slots=True)
class Given:
    """A packaged flow with the Parameters of a run; `prefix` comes before its entities' names."""

    packaged: RunSource
    parameters: Mapping[str, Value]
    prefix: str

    @property
    def first_image(self) -> str:
        return self.packaged.image_of(self.packaged.spec.start)

    def program(self, folder: Path) -> Program:
        from mfbuild.local.program import program_of

        return program_of(self.packaged, self.prefix, self.parameters, folder)


def from_bundle(bundle: Bundle) -> RunSource:
    """The flow of `bundle`; BundleError if its code or its templates are missing or changed."""
    manifest, layout = bundle.manifest, bundle.layout
    code = layout.files.get(blob_name(manifest.code.digest))
    if code is None:
        raise BundleError(f"the code `{manifest.code.digest}` is missing", where=str(layout.path))
    spec = manifest.spec
    return RunSource(
        spec=spec,
        version=manifest.version,
        templates=layout.blob(manifest.flyte.digest),
        code=code,
        code_digest=manifest.code.digest,
        pythons={step.name: step.python for step in spec.steps if step.python},
        bundle=bundle,
        images=template_images(spec),
    )


def without_images(session: Session, flow: LoadedFlow) -> RunSource:
    """A flow of which nothing but the code and the templates are made: no image, no download."""
    from mfbuild.build.analyze import FlowInput, flyte_templates
    from mfbuild.build.digests import read_sources
    from mfbuild.build.tools import tools
    from mfbuild.engine.graph import ActionGraph
    from mfbuild.engine.run import run
    from mfbuild.rules.code import code

    entries, _ = read_sources(flow.spec, session.config.store / "stat.json", session.reporter.warn)
    options = session.options.flow_options
    given = FlowInput(flow.label, flow.spec, flow.needs, entries, (), options)
    tarball, templates = code(flow.label, entries), flyte_templates(given, session.config)
    goals = (tarball.provider.tarball, templates.provider.templates)
    results = run(
        ActionGraph((*tarball.actions, *templates.actions)),
        goals,
        tools(session.config),
        {},
        session.store,
        session.cache,
        session.reporter,
        jobs=session.config.jobs,
        fresh=session.options.fresh,
    )
    packed, compiled = (results[goal.label].outputs[goal.name] for goal in goals)
    return RunSource(
        spec=flow.spec,
        version=Digest.of(f"{packed.digest} {compiled.digest}".encode()).hex[:VERSION_DIGITS],
        templates=session.store.verified(compiled).read_bytes(),
        code=Extent(session.store.verified(packed), 0, packed.size),
        code_digest=packed.digest,
        pythons={step: need.base.python for step, need in flow.needs.items()},
        bundle=None,
        images=template_images(flow.spec),
    )


def template_images(spec: FlowSpec) -> dict[str, str]:
    """The step of each image, by the name that it has in the templates of a flow."""
    return {f"mfbuild:{step.name}": step.name for step in spec.steps}


def keep_file(path: str, folder: Path, name: str) -> str:
    """A copy of the file `path` in `folder`, where every step can read it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{Path(path).name}"
    shutil.copyfile(path, target)
    return str(target)
