"""An image of 120 MB pushed to a local registry: mfbuild against `docker push` of the same layers.

The layers are those of numpy + pandas + scikit-learn + pyarrow. Both sides are whole processes and
push to a registry that is empty. Then the same to a second repository, and 50 images of these
layers, each with a config of its own. Needs root, docker.io and docker-registry of Debian;
everything it starts, it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bake import free_port, listens, run, server
from layers import CACHE, PACKAGES, bake, downloaded
from timing import Timed, in_turn, table, times

from mfbuild.engine.model import Digest
from mfbuild.oci.archive import docker_images, host_platform, write_archive
from mfbuild.oci.image import image_config, image_index, image_manifest
from mfbuild.oci.layout import Layout, write_layout
from mfbuild.oci.types import (
    IMAGE_CONFIG,
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    LAYER_GZIP,
    Descriptor,
    LayerInfo,
)

STEPS = 50
JOBS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=5, help="rounds after one warm-up")
    parser.add_argument("--wheels", type=Path, default=CACHE / "push", help="where wheels are")
    parser.add_argument("--push", nargs=4, metavar="WORD", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.push:
        push(*options.push)
        return
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prepare(work, downloaded(options.wheels, [*PACKAGES, "pyarrow==18.1.0"]))
        place = stack.enter_context(started(work))
        print(measure(place, options.runs))


def prepare(work: Path, wheels: list[Path]) -> None:
    """The layouts `one` and `steps`, of one image and of 50, in `work`."""
    (work / "layers").mkdir()
    bake(work / "layers", wheels)
    blobs: dict[Digest, Path | bytes] = {}
    layers, infos = [], []
    for path in sorted((work / "layers").glob("*.layer")):
        digest = Digest.of(path.read_bytes())
        blobs[digest] = path
        layers.append(Descriptor(LAYER_GZIP, digest, path.stat().st_size))
        infos.append(LayerInfo.parse(json.loads(path.with_suffix(".info").read_bytes())))
    for name, count in (("one", 1), ("steps", STEPS)):
        roots = [image(number, layers, infos, blobs) for number in range(count)]
        write_layout(work / name, image_index(roots), blobs)


def image(
    number: int,
    layers: list[Descriptor],
    infos: list[LayerInfo],
    blobs: dict[Digest, Path | bytes],
) -> Descriptor:
    """The index of an image; its documents are put into `blobs`."""

    def document(media_type: str, data: bytes) -> Descriptor:
        blobs[Digest.of(data)] = data
        return Descriptor(media_type, Digest.of(data), len(data))

    platform = host_platform()
    settings = {"platform": str(platform), "env": [f"STEP={number}"]}
    config = document(IMAGE_CONFIG, image_config(settings, infos))
    manifest = document(IMAGE_MANIFEST, image_manifest(config, layers))
    listed = Descriptor(IMAGE_MANIFEST, manifest.digest, manifest.size, platform)
    return document(IMAGE_INDEX, image_index([listed]))


@dataclass(frozen=True)
class Place:
    """A registry and a Docker daemon that has the image of the layout `one`."""

    work: Path
    host: str
    docker: list[str]

    def clean(self) -> None:
        shutil.rmtree(self.work / "registry", ignore_errors=True)

    def ours(self, layout: str, path: str, mount: str = "-") -> list[str]:
        return [sys.executable, __file__, "--push", str(self.work / layout), self.host, path, mount]


@contextlib.contextmanager
def started(work: Path) -> Iterator[Place]:
    """Run both."""
    port = free_port()
    config = work / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    sock = work / "docker.sock"
    daemon = ["dockerd", "--data-root", f"{work}/docker", "--exec-root", f"{work}/exec",
              "-p", f"{work}/docker.pid", "-H", f"unix://{sock}", "--iptables=false",
              "--bridge=none"]  # fmt: skip
    place = Place(work, f"127.0.0.1:{port}", ["docker", "-H", f"unix://{sock}"])
    registry = ["docker-registry", "serve", str(config)]
    with server(registry, lambda: listens(port)), server(daemon, sock.exists):
        layout = Layout.open(work / "one")
        names = {layout.index()[0].digest: [f"{place.host}/theirs:1"]}
        images = docker_images(layout, names, host_platform())
        run(*place.docker, "load", "-q", "-i", str(write_archive(layout, work / "one.tar", images)))
        yield place


def measure(place: Place, runs: int) -> str:
    """The table of all."""
    first = place.ours("one", "ours")

    def anew() -> None:
        place.clean()
        run(*first)

    ours = Timed("mfbuild, one image", first, place.clean)
    theirs = Timed(
        "docker push", [*place.docker, "push", "-q", f"{place.host}/theirs:1"], place.clean
    )
    second = Timed("to a second repository", place.ours("one", "second", "ours"), anew)
    steps = Timed(f"{STEPS} images, their layers there", place.ours("steps", "ours"), anew)
    again = Timed(f"{STEPS} images, all there", steps.command, lambda: run(*steps.command))
    in_turn([ours, theirs, second, steps, again], runs)
    anew()
    sent = json.loads(subprocess.check_output(second.command))["sent"]
    size = sum(path.stat().st_size for path in (place.work / "layers").glob("*.layer"))
    rows = [[timed.name, times(timed)] for timed in (ours, theirs, second, steps, again)]
    rows += [
        [f"ratio for {size / 1e6:.0f} MB (bar 0.4)", f"{ours.median / theirs.median:.3f}"],
        ["layer bytes to the second repository", str(sent)],
    ]
    return table(rows, ["what", "min / median s"])


def push(layout: str, host: str, path: str, mount: str) -> None:
    """What a process of ours does: all images of a layout; prints what was sent, in bytes."""
    from mfbuild.engine.events import Silent
    from mfbuild.oci.access import Registry
    from mfbuild.oci.push import push_images
    from mfbuild.oci.registry import Repository

    class Counting(Silent):
        sent = 0

        def progress(self, label: str, done: int, total: int | None) -> None:
            if done == total:
                self.sent += done

    there, target = Layout.open(Path(layout)), Repository(Registry(host, os.environ), path)
    reporter, sources = Counting(), [mount] if mount != "-" else []
    push_images(there, there.index(), target, jobs=JOBS, reporter=reporter, mount=sources)
    print(json.dumps({"sent": reporter.sent}))


if __name__ == "__main__":
    main()
