"""The engine's registry, and what goes to it: the image of its own tests, and those of bundles."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from mfbuild.engine.model import Digest
from tests.cluster.build import command, program
from tests.cluster.namespace import Namespace, listens
from tests.layouts import layer, make_image


def start_registry(space: Namespace, port: int) -> str:
    """Start docker-registry; its `host:port`."""
    files = space.folder / "registry"
    config = space.folder / "registry.json"
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(files)}},
                "http": {"addr": f"127.0.0.1:{port}"},
            }
        )
    )
    space.start([command("docker-registry"), "serve", config], lambda: listens(port))
    return f"127.0.0.1:{port}"


def push(source: str, registry: str, repository: str, scratch: Path) -> str:
    """Copy an image with all its platforms to `registry`; its reference there, by digest.

    `source` is as skopeo names it, `dir:…` or `oci:…:…`; `scratch` is a folder.
    """
    target = f"{registry}/{repository}"
    digest = scratch / "digest"
    subprocess.run(
        [command("skopeo"), "--insecure-policy", "copy", "-q", "--all", "--preserve-digests",
         "--dest-tls-verify=false", "--digestfile", digest, source, f"docker://{target}:latest"],
        check=True,
    )  # fmt: skip
    return f"{target}@{digest.read_text()}"


def container_image(folder: Path) -> str:
    """An image of `go/flyte/container` alone, in `folder`: its source. It pauses if not told."""
    files = layer({"container": program("container").read_bytes()}, mode=0o755)
    image = make_image(folder / "work", [files], entrypoint=["/container"], cmd=["pause"])
    for data in (image.config, *(each.data for each in image.layers)):
        (folder / Digest.of(data).hex).write_bytes(data)
    (folder / "manifest.json").write_bytes(image.manifest)
    return f"dir:{folder}"
