"""Flows pushed to an embedded backend as `mfbuild push` does it, with images that nobody enters."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from mfbuild.build.load import load_one
from mfbuild.build.session import Options, Session
from mfbuild.bundle.model import DomainRecord, assemble
from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.bundle.write import write_bundle
from mfbuild.config import Config
from mfbuild.engine.model import Digest, canonical
from mfbuild.engine.store import Store
from mfbuild.flyte.names import CODE, PLAN
from mfbuild.flyte.resolve import Resolved, Site, resolve
from mfbuild.flyte.templates import Compiled
from mfbuild.local.embedded.backend import EmbeddedBackend
from mfbuild.local.run_source import without_images
from mfbuild.report import PlainReporter
from tests import layouts
from tests.local.registering import entities


def packaged(flow: Path, *words: str, code: bytes = b"") -> Bundle:
    """The bundle of a flow: its own code and templates, and one small image for all its steps."""
    root = flow.parent
    config = Config(root=root, store=root / "store", jobs=2, environ=dict(os.environ))
    with Store.open(config.store) as store:
        options = Options(python=Path(sys.executable), flow_options=words)
        session = Session(config, options, store, PlainReporter(StringIO()))
        loaded = load_one(session, str(flow))
        found = without_images(session, loaded)
    blobs = layouts.Store(root / "blobs")
    base = {p: [layouts.layer({"etc/arch": str(p).encode()})] for p in layouts.BOTH}
    index, image = layouts.store_image(blobs, base)
    manifest = assemble(
        flow=found.spec.name,
        steps={step.name: (index, Digest.of(b"environment")) for step in found.spec.steps},
        images=[image],
        code=blobs.add(b"".join(found.code.chunks())),
        flyte=blobs.add(found.templates),
        spec=found.spec,
        domains={"staging": DomainRecord(None, None, (), {})},
    )
    return read_bundle(write_bundle(manifest, blobs.blobs, root / "dist"))


def push(
    bundle: Bundle,
    backend: EmbeddedBackend,
    *,
    prefix: str = "",
    settings: Mapping[str, str] | None = None,
    person: Mapping[str, object] | None = None,
) -> Resolved:
    """Register a bundle in the domain `staging`; what is registered."""
    manifest, registrations = bundle.manifest, backend.registrations
    images = {
        name: f"mfbuild/{manifest.flow.lower()}@{step.image.digest}"
        for name, step in manifest.steps.items()
    }
    name = canonical(dict(person or {}))
    site = Site("local", "staging", images, settings or {}, prefix=prefix, person=name)
    templates = Compiled.decode(bundle.layout.blob(manifest.flyte.digest))
    found = resolve(templates, site, version=manifest.version)
    code = bundle.layout.blob(manifest.code.digest)
    addresses = {CODE: _uploaded(backend, code)}
    if found.expansion_plan:
        addresses[PLAN] = _uploaded(backend, found.expansion_plan)
    found = found.with_addresses(addresses)
    backend.keep_bundle(bundle)
    for entity in entities(found):
        registrations.create(*entity)
    return found


def _uploaded(backend: EmbeddedBackend, data: bytes) -> str:
    url = backend.registrations.upload("local", "staging", "file", data)
    return f"{url}#sha256={Digest.of(data).hex}"
