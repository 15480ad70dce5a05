"""Bundles of small flows, whose templates are compiled and whose images are real but tiny."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfbuild.bundle.model import BundleImage, DomainRecord, assemble
from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.bundle.write import write_bundle
from mfbuild.engine.model import Blob, Digest
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.compile import compile_flow
from mfbuild.oci.types import PACKAGES
from mfbuild.push.deployment import Deployment
from mfbuild.push.push import Pushed, push
from mfbuild.push.record import site_of
from mfbuild.push.target import PushTarget
from tests.layouts import AMD64, Store, layer, store_image
from tests.specs import flow, step

if TYPE_CHECKING:
    from mfbuild.push.bundles import Source

PROJECT = "flows"
S3 = {"datastore_sysroot_s3": "s3://bucket/metaflow"}
CODE = {"train.py": b"class TrainFlow: ..."}
NO_SETTINGS = DomainRecord(None, None, (), {})
DOMAINS = dict.fromkeys(("development", "staging", "production"), NO_SETTINGS)
POLICY = """
[workspace]
platforms = ["linux/amd64"]
[flyte]
project = "{project}"
endpoint = "http://{endpoint}"
[domain.staging]
registry = "{registry}/staging"
[domain.staging.metaflow]
datastore_sysroot_s3 = "s3://bucket/staging"
[domain.production]
registry = "{registry}/production"
activate = true
service_account = "flows"
image_pull_secrets = ["pull"]
[domain.production.metaflow]
datastore_sysroot_s3 = "s3://bucket/production"
"""


def train_flow(**changes: Any) -> FlowSpec:
    """start -> fit -> end."""
    steps = (
        step("start", next=("fit",), kind="start"),
        step("fit", next=("end",)),
        step("end", kind="end"),
    )
    return replace(flow(*steps), **changes)


def make_bundle(
    folder: Path,
    spec: FlowSpec | None = None,
    *,
    code: Mapping[str, bytes] = CODE,
    packages: Mapping[str, str] | None = None,
    domains: Mapping[str, DomainRecord] = DOMAINS,
) -> Bundle:
    """A bundle below `folder`; `packages` are the words of an image's label, by step."""
    spec = spec or train_flow()
    store = Store(folder / "store")
    images: dict[str, tuple[Blob, BundleImage]] = {}
    for each in spec.steps:
        words = (packages or {}).get(each.name, "metaflow==2.19.39")
        if words not in images:
            layers = [layer({f"etc/{Digest.of(words.encode()).hex[:8]}": words.encode()})]
            images[words] = store_image(store, {AMD64: layers}, labels={PACKAGES: words})
    used = {s.name: images[(packages or {}).get(s.name, "metaflow==2.19.39")] for s in spec.steps}
    manifest = assemble(
        flow=spec.name,
        steps={name: (index, index.digest) for name, (index, _) in used.items()},
        images=[image for _, image in images.values()],
        code=store.add(tarball(code)),
        flyte=store.add(compile_flow(spec).encode()),
        spec=spec,
        domains=domains,
    )
    return read_bundle(write_bundle(manifest, store.blobs, folder / "dist"))


def push_to(
    target: PushTarget, bundle: Source, deployment: Deployment, *, activate: bool
) -> Pushed:
    """Push a bundle that has its site resolved for this alone."""
    return push(bundle, site_of(bundle.manifest, target, deployment), target, activate=activate)


def tarball(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz of these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


def write_policy(folder: Path, endpoint: str, registry: str) -> None:
    """The BUILD.toml of a workspace that goes to a Flyte and a registry; production is live."""
    where = {"project": PROJECT, "endpoint": endpoint, "registry": registry}
    (folder / "BUILD.toml").write_text(POLICY.format(**where))
