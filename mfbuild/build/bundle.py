"""The stage bundle: each flow's manifest, its version, and its layout on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mfbuild.build.analyze import Analysis, FlowTarget
from mfbuild.build.session import Session
from mfbuild.bundle.model import BundleImage, BundleManifest, DomainRecord, assemble
from mfbuild.bundle.write import bundle_is_whole, bundle_path, write_bundle
from mfbuild.config import Config, Domain
from mfbuild.engine.model import Blob, Output
from mfbuild.engine.run import Results
from mfbuild.engine.seal import seal
from mfbuild.flyte.quantities import DEFAULTS
from mfbuild.oci.layout import Hashed

DIST = ".mfbuild/dist"
SEALS = ".mfbuild/seals"


@dataclass(frozen=True, slots=True)
class Built:
    """A flow, and the folder of its bundle."""

    flow: FlowTarget
    path: Path

    @property
    def version(self) -> str:
        """The version of the bundle, with which the folder's name ends."""
        return self.path.name.rpartition("-")[2]


def bundle(session: Session, analysis: Analysis, results: Results) -> tuple[Built, ...]:
    """Write each flow's bundle below .mfbuild/dist of the workspace, unless it is there.

    BlobCorrupted for a blob of the store that is not what its digest says.
    """
    made = tuple(Built(flow, _path(session, flow, results)) for flow in analysis.flows)
    fresh = [b for b in made if not bundle_is_whole(b.path, b.version, _seal_of(session, b))]
    for built in fresh:
        _write(session, built, results)
    # Bundles share files, and what was just linked to looks new in the others as well.
    for built in made if fresh else ():
        seal(built.path, _seal_of(session, built))
    for flow in analysis.flows:
        _warn_of_imports(session, flow, results)
    return made


def manifest_of(flow: FlowTarget, results: Results, config: Config) -> BundleManifest:
    """What the bundle of a flow says of it, with its version."""
    blobs = {o: _blob(o, results) for o in flow.goals()}
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
        domains={name: domain_record(domain, config) for name, domain in config.domains.items()},
    )


def _blob(output: Output, results: Results) -> Blob:
    return results[output.label].outputs[output.name]


def _path(session: Session, flow: FlowTarget, results: Results) -> Path:
    manifest = manifest_of(flow, results, session.config)
    return bundle_path(manifest.flow, manifest.version, session.config.root / DIST)


def _seal_of(session: Session, built: Built) -> Path:
    return session.config.root / SEALS / built.path.name


def _write(session: Session, built: Built, results: Results) -> None:
    from concurrent.futures import ThreadPoolExecutor

    if built.path.exists():
        session.reporter.warn(f"the bundle `{built.path}` is damaged: it is made again")
    blobs = {_blob(o, results) for o in built.flow.goals()}
    blobs = {blob for blob in blobs if blob.size}  # a layer of no bytes is none
    with ThreadPoolExecutor(session.config.jobs) as pool:  # hashing lets other threads run
        files = dict(zip(blobs, pool.map(session.store.verified, blobs), strict=True))
    hashed = {blob.digest: Hashed(file) for blob, file in files.items()}
    write_bundle(manifest_of(built.flow, results, session.config), hashed, built.path.parent)


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


def domain_record(domain: Domain, config: Config) -> DomainRecord:
    """What of a domain shapes its entities, and so is in the version; an endpoint does not.

    The resources of steps that ask for none: the domain's, the workspace's, else Metaflow's own.
    """
    return DomainRecord(
        registry=domain.registry or config.registry,
        service_account=domain.service_account,
        image_pull_secrets=domain.image_pull_secrets,
        metaflow=domain.metaflow,
        resources={**DEFAULTS, **config.resources, **domain.resources},
    )
