"""The fetcher of `oci:` sources: blobs of layouts on disk and of a real registry."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from mfbuild.engine.model import Blob, Digest, Source
from mfbuild.errors import FetchError
from mfbuild.oci.access import Registry
from mfbuild.oci.image import image_index
from mfbuild.oci.layout import write_layout
from mfbuild.oci.reference import Reference
from mfbuild.oci.registry import OciFetcher, Repository
from mfbuild.oci.types import IMAGE_INDEX, REF_NAME, Descriptor
from tests.layouts import BOTH, Store, layer, store_image
from tests.registry import PASSWORD, USER, docker_registry


def known(host: str) -> Registry:
    return Registry(host, os.environ)


DATA = bytes(range(256)) * 12_000
BLOB = Blob(Digest.of(DATA), len(DATA))


def test_blobs_of_a_layout_are_fetched(tmp_path: Path) -> None:
    directory = write_layout(tmp_path / "lay out@x", image_index([]), {BLOB.digest: DATA})
    source = Source(BLOB, f"oci:oci:{directory}@{BLOB.digest}")
    ticks: list[int] = []
    OciFetcher(known)(source, tmp_path / "x", ticks.append)
    assert (tmp_path / "x").read_bytes() == DATA
    assert sum(ticks) == len(DATA)
    (directory / "blobs" / "sha256" / BLOB.digest.hex).unlink()
    with pytest.raises(FetchError, match="does not have"):
        OciFetcher(known)(source, tmp_path / "y", ticks.append)
    (directory / "blobs" / "sha256" / BLOB.digest.hex).write_bytes(DATA[1:])
    with pytest.raises(FetchError, match="has changed"):
        OciFetcher(known)(source, tmp_path / "z", ticks.append)


@pytest.mark.tools
@pytest.mark.parametrize("login", [False, True])
def test_a_real_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: bool) -> None:
    store = Store(tmp_path / "store")
    index, image = store_image(store, {p: [layer({"etc/arch": str(p).encode()})] for p in BOTH})
    root = Descriptor(IMAGE_INDEX, index.digest, index.size, annotations={REF_NAME: "it"})
    directory = write_layout(tmp_path / "layout", image_index([root]), dict(store.blobs))
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    with docker_registry(tmp_path / "registry", login=login) as host:
        config = {"auths": {host: {"auth": auth}}} if login else {}
        (tmp_path / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        copy = ["skopeo", "copy", "-q", "--all", "--dest-tls-verify=false"]
        source, target = f"oci:{directory}:it", f"docker://{host}/team/base:1"
        subprocess.run(
            [*copy, "--authfile", str(tmp_path / "config.json"), source, target], check=True
        )
        repository = Repository(known(host), "team/base")
        assert repository.manifest(index.digest) == store.blobs[index.digest].read_bytes()
        for digest in image.manifests.values():
            assert repository.manifest(digest) == store.blobs[digest].read_bytes()
        made = layer({"etc/arch": b"linux/amd64"}).data
        blob = Blob(Digest.of(made), len(made))
        reference = Reference(f"{host}/team/base", None, blob.digest)
        OciFetcher(known)(Source(blob, f"oci:{reference}"), tmp_path / "x", lambda n: None)
        assert (tmp_path / "x").read_bytes() == made
        with pytest.raises(FetchError, match="does not have"):
            repository.blob(Digest.of(b"nothing"))
        if login:
            stranger = Repository(Registry(host, {}, lambda host: None), "team/base")
            with pytest.raises(FetchError, match="refuses access"):
                stranger.manifest(index.digest)
