"""Pushes and pulls that are killed or interrupted: the next one ends as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pytest

from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.bundle.remote import find_remote, open_remote, pull_bundle, push_bundle
from mfbuild.bundle.write import write_bundle
from mfbuild.engine.events import Silent
from tests.layouts import BOTH, Store, layer, sample_bundle
from tests.proxy import Fault, Proxy, Seen, proxied
from tests.pushes import repository, state
from tests.registry import docker_registry

pytestmark = pytest.mark.tools

Moment = Literal["before", "middle", "after"]

PUSH = """
import sys
from pathlib import Path
from mfbuild.bundle.read import read_bundle
from mfbuild.bundle.remote import push_bundle
from mfbuild.engine.events import Silent
from mfbuild.oci.registry import Repository
from mfbuild.oci.access import Registry
repository = Repository(Registry(sys.argv[1], {}), sys.argv[2])
push_bundle(read_bundle(Path(sys.argv[3])), repository, jobs=3, reporter=Silent())
"""
PULL = """
import sys
from pathlib import Path
from mfbuild.bundle.remote import open_remote, pull_bundle
from mfbuild.engine.events import Silent
pull_bundle(open_remote("oci://" + sys.argv[1], {}), Path(sys.argv[2]), jobs=3, reporter=Silent())
"""


@dataclass(frozen=True)
class Place:
    """A registry behind a proxy; a bundle, and what an undisturbed push of it leaves and asks."""

    folder: Path
    proxy: Proxy
    bundle: Bundle
    expected: set[str]
    requests: int

    def name(self, path: str) -> str:
        return f"{self.proxy.host}/{path}:{self.bundle.manifest.version}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    store = Store(folder / "store")
    base = {p: layer({"data": random.Random(str(p)).randbytes(500_000)}, "base") for p in BOTH}
    bundle = read_bundle(write_bundle(sample_bundle(store, base), store.blobs, folder / "dist"))
    with docker_registry(folder / "registry") as host, proxied(host) as proxy:
        whole = repository(proxy.host, "team/undisturbed")
        assert push_bundle(bundle, whole, jobs=3, reporter=Silent())
        expected = state(folder / "registry", "team/undisturbed")
        yield Place(folder / "registry", proxy, bundle, expected, len(proxy.seen))


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "."})


def killed(place: Place, script: str, number: int, moment: Moment, *arguments: object) -> None:
    """Run `script`, and kill it (as by kill -9) when its request `number` is at this `moment`."""
    place.proxy.seen.clear()
    place.proxy.rule = lambda seen: fault if place.proxy.seen.index(seen) == number else None
    with start(script, *arguments) as process:
        fault = Fault(cut=moment, then=process.kill)
        process.communicate(timeout=60)
    place.proxy.rule = lambda seen: None
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", range(20))
def test_a_push_that_is_killed_is_finished_by_the_next(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    number, moment = chance.randrange(place.requests), chance.choice(get_args(Moment))
    path = f"team/killed-{seed}"
    killed(place, PUSH, number, moment, place.proxy.host, path, place.bundle.layout.path)
    target = repository(place.proxy.host, path)
    push_bundle(place.bundle, target, jobs=3, reporter=Silent())
    assert state(place.folder, path) == place.expected
    found = find_remote(target, place.bundle.manifest.version)
    assert found is not None
    assert found.manifest == place.bundle.manifest


@pytest.mark.parametrize("number", [0, 5, 12])
def test_a_pull_that_is_killed_leaves_nothing_to_be_taken_for_whole(
    place: Place, tmp_path: Path, number: int
) -> None:
    name, dist = place.name("team/undisturbed"), tmp_path / "dist"
    killed(place, PULL, number, "after", name, dist)
    whole = place.bundle.layout.path.name
    assert not (dist / whole).exists()
    path = pull_bundle(open_remote(f"oci://{name}", {}), dist, jobs=3, reporter=Silent())
    assert {p.name for p in dist.iterdir()} == {whole, ".lock", ".pull.lock"}
    assert read_bundle(path).manifest == place.bundle.manifest


@pytest.mark.parametrize("kind", ["HEAD tag", "HEAD blob", "PUT upload", "PUT tag"])
def test_an_interrupt_does_not_wait_for_a_silent_server(place: Place, kind: str) -> None:
    path = f"team/interrupted-{kind.lower().replace(' ', '-')}"
    place.proxy.seen.clear()

    def rule(seen: Seen) -> Fault | None:
        def interrupt() -> None:
            if seen.number == 0:
                process.send_signal(signal.SIGINT)

        return Fault(stall=True, then=interrupt) if seen.kind == kind else None

    place.proxy.rule = rule
    with start(PUSH, place.proxy.host, path, place.bundle.layout.path) as process:
        # Less than it would wait for an answer that the server never gives.
        _, errors = process.communicate(timeout=30)
    place.proxy.rule = lambda seen: None
    assert errors.decode().splitlines()[-1] == "mfbuild.errors.Interrupted: interrupted"
    target = repository(place.proxy.host, path)
    assert push_bundle(place.bundle, target, jobs=3, reporter=Silent())
    assert state(place.folder, path) == place.expected
