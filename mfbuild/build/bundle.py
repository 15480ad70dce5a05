"""The whole of `package`, down to the bundle; a blob that was damaged is made again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mfbuild.build import pipeline
from mfbuild.build.analyze import Analysis, FlowTarget
from mfbuild.build.load import LoadedFlow
from mfbuild.build.session import Session
from mfbuild.bundle.model import BundleImage, BundleManifest, DomainRecord, assemble
from mfbuild.bundle.write import bundle_is_whole, bundle_path, write_bundle
from mfbuild.config import Config, Domain
from mfbuild.engine.model import Blob, Output
from mfbuild.engine.plan import Status
from mfbuild.engine.run import Results
from mfbuild.engine.store import BlobCorrupted
from mfbuild.errors import BundleError, ResolveError, UsageError
from mfbuild.files import disk_errors, words_of, write_atomically
from mfbuild.oci.types import Platform
from mfbuild.python.model import Lock

DIST = ".mfbuild/dist"
LATEST = ".mfbuild/latest.json"


@dataclass(frozen=True, slots=True)
class Latest:
    """A bundle that was packaged last: its flow's label, its path, and the flags that shaped it."""

    label: str
    path: Path
    policy: Mapping[str, Any]


def package(
    session: Session,
    flows: Sequence[LoadedFlow],
    *,
    platforms: tuple[Platform, ...] | None = None,
) -> tuple[tuple[FlowTarget, Path], ...]:
    """lock, analyze, execute, bundle: each flow's target and the path of its bundle.

    The lock is for all platforms of the workspace, the images for `platforms` where given.
    """
    locked = pipeline.lock(session, flows)
    if platforms:
        session = replace(session, config=replace(session.config, platforms=platforms))
    analysis = pipeline.analyze_flows(session, flows, locked)
    return tuple(zip(analysis.flows, _make(session, analysis, locked), strict=True))


def note_latest(root: Path, made: Sequence[Latest]) -> None:
    """Write down what was packaged last in `root`, for a push that names nothing; BundleError.

    A workspace may be moved: the paths in it begin at its root.
    """
    value = [
        {"label": m.label, "path": str(m.path.relative_to(root)), "policy": m.policy} for m in made
    ]
    with disk_errors(BundleError, f"writing `{root / LATEST}`", root / LATEST):
        write_atomically(root / LATEST, json.dumps(value, indent=1).encode())


def read_latest(root: Path) -> tuple[Latest, ...]:
    """What was packaged last; UsageError if nothing was, or if it is gone."""
    try:
        value = json.loads((root / LATEST).read_bytes())
        found = tuple(Latest(v["label"], root / v["path"], v["policy"]) for v in value)
    except FileNotFoundError:
        found = ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "name a flow: mfbuild push flow.py"
        raise UsageError(f"`{LATEST}` cannot be read: {words_of(error)}", hint=hint) from error
    if not found:
        raise UsageError("nothing was packaged here yet", hint="name a flow: mfbuild push flow.py")
    if gone := [latest for latest in found if not latest.path.exists()]:
        hint = f"make it again: mfbuild push {gone[0].label}"
        raise UsageError(f"`{gone[0].path}`, which was packaged last, is gone", hint=hint)
    return found


def version_now(session: Session, flow: LoadedFlow) -> str | None:
    """The version that a flow's sources have now; None where something would have to be made."""
    session = replace(session, options=replace(session.options, locked=True))
    try:
        locked = pipeline.lock(session, [flow])
    except ResolveError:
        return None
    analysis = pipeline.analyze_flows(session, [flow], locked)
    if any(s.status is not Status.CACHED for s in pipeline.plan(session, analysis).steps):
        return None
    results = pipeline.execute(session, analysis, locked)
    (target,) = analysis.flows
    blobs = {o: results[o.label].outputs[o.name] for o in target.goals()}
    return _manifest(target, blobs, session.config).version


def _make(session: Session, analysis: Analysis, locked: Lock) -> tuple[Path, ...]:
    """Run and bundle; a blob that turns out damaged is named, discarded and made again."""
    while True:
        results = pipeline.execute(session, analysis, locked)
        try:
            made = tuple(bundle(session, flow, results) for flow in analysis.flows)
            for flow in analysis.flows:
                _warn_of_imports(session, flow, results)
            return made
        except BlobCorrupted as error:
            session.reporter.warn(f"{error}: it is made again")
            session.store.discard(error.blob)


def bundle(session: Session, flow: FlowTarget, results: Results) -> Path:
    """Write the bundle of one flow below .mfbuild/dist of the workspace, unless it is there."""

    def blob(output: Output) -> Blob:
        return results[output.label].outputs[output.name]

    manifest = _manifest(flow, {o: blob(o) for o in flow.goals()}, session.config)
    dist = session.config.root / DIST
    path = bundle_path(manifest.flow, manifest.version, dist)
    if not bundle_is_whole(path, manifest.version):
        from concurrent.futures import ThreadPoolExecutor

        blobs = {blob(o) for o in flow.goals()}
        with ThreadPoolExecutor(session.config.jobs) as pool:  # hashing lets other threads run
            files = dict(zip(blobs, pool.map(session.store.verified, blobs), strict=True))
        write_bundle(manifest, {b.digest: file for b, file in files.items()}, dist)
    return path


def _warn_of_imports(session: Session, flow: FlowTarget, results: Results) -> None:
    """Say which steps could not begin: on Flyte that would be learnt from a pod."""
    from mfbuild.build.imports import missing_imports

    try:
        source = (session.config.root / flow.spec.file).read_bytes()
    except OSError:
        return  # it was there when it was loaded: the next build says what has become of it
    for message in missing_imports(
        source, flow, session.config.platforms[0], results, session.store
    ):
        session.reporter.warn(message)


def _manifest(flow: FlowTarget, blobs: Mapping[Output, Blob], config: Config) -> BundleManifest:
    images = {step.image.index: step.image for step in flow.steps.values()}
    return assemble(
        flow=flow.spec.name,
        steps={n: (blobs[s.image.index], s.environment) for n, s in flow.steps.items()},
        images=[
            BundleImage(
                blobs[index].digest,
                {p: blobs[manifest].digest for p, manifest in image.manifests.items()},
            )
            for index, image in images.items()
        ],
        code=blobs[flow.code.tarball],
        flyte=blobs[flow.flyte.templates],
        spec=flow.spec,
        domains={name: _record(domain, config) for name, domain in config.domains.items()},
    )


def _record(domain: Domain, config: Config) -> DomainRecord:
    """What of a domain shapes its entities; an endpoint does not."""
    return DomainRecord(
        registry=domain.registry or config.registry,
        service_account=domain.service_account,
        image_pull_secrets=domain.image_pull_secrets,
        metaflow=domain.metaflow,
    )
