"""Pushes to the embedded backend that are killed, raced by others, or out of space."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest

from mfbuild.bundle.read import read_bundle, verify_bundle
from mfbuild.bundle.write import write_bundle
from mfbuild.local.embedded.registrations import EmbeddedRegistrations
from tests.children import WAIT, child, let_go, line
from tests.layouts import Store as Blobs
from tests.layouts import sample_bundle
from tests.local.registering import FIRST, SECOND, backend, push_twice

PUSH = "tests.local.registering"
_RANDOM = random.Random(20260101)


def content(root: Path) -> dict[str, bytes]:
    """Every file of the backend; what is stored of a launch plan besides has its time."""
    flyte = root / ".mfbuild/flyte"
    files = {str(p.relative_to(flyte)): p.read_bytes() for p in flyte.rglob("*") if p.is_file()}
    plans = {name for name in files if "/launch_plan/" in name}
    return {n: b"" if n in plans else d.replace(bytes(root), b"") for n, d in files.items()}


def active(registrations: EmbeddedRegistrations) -> list[str]:
    plans = registrations.launch_plans("local", "staging", "TrainFlow")
    return [plan.id.version for plan in plans if plan.active]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed")
    push_twice(backend(root).registrations)
    return content(root)


@pytest.mark.parametrize("moment", sorted(_RANDOM.sample(range(1, 130), 24)))
def test_a_push_may_be_killed_at_any_moment(
    tmp_path: Path, undisturbed: dict[str, bytes], moment: int
) -> None:
    with child(PUSH, tmp_path, "kill", moment) as process:
        told = process.communicate(timeout=WAIT)[0].splitlines()
        assert process.returncode == -signal.SIGKILL
    registrations = backend(tmp_path).registrations
    assert len(active(registrations)) in ((1,) if told else (0, 1))
    push_twice(registrations)
    assert content(tmp_path) == undisturbed
    assert active(registrations) == [SECOND]


@pytest.mark.parametrize("moment", sorted(_RANDOM.sample(range(1, 120), 8)))
def test_a_bundle_is_kept_whole_or_not_at_all(tmp_path: Path, moment: int) -> None:
    blobs = Blobs(tmp_path / "blobs")
    manifest = sample_bundle(blobs)
    bundle = read_bundle(write_bundle(manifest, blobs.blobs, tmp_path / "dist"))
    with child(PUSH, tmp_path, "keep", moment) as process:
        assert process.wait(WAIT) == -signal.SIGKILL
    kept = backend(tmp_path)
    found = kept.find_bundle(manifest.flow, manifest.version)
    assert found is None or verify_bundle(found.layout.path) == []
    path = kept.keep_bundle(bundle)
    assert verify_bundle(path) == []
    assert {p.name for p in path.parent.iterdir()} == {".lock", path.name}


def test_two_pushes_at_once_end_as_one(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    with child(PUSH, tmp_path, "race") as one, child(PUSH, tmp_path, "race") as two:
        let_go(one, two)
        told = [[json.loads(line(process)) for _ in range(2)] for process in (one, two)]
        assert (one.wait(WAIT), two.wait(WAIT)) == (0, 0)
    for (version, first), (same, second) in zip(*told, strict=True):
        assert version == same
        new = {FIRST: [1] * 5, SECOND: [0, 1, 0, 1, 1]}[version]
        assert [a + b for a, b in zip(first, second, strict=True)] == new
    assert content(tmp_path) == undisturbed
    assert active(backend(tmp_path).registrations) == [SECOND]


def test_whoever_reads_meanwhile_sees_one_active_version(tmp_path: Path) -> None:
    with child(PUSH, tmp_path, "flip", 300) as process:
        assert line(process) == "ready"
        registrations, seen = backend(tmp_path).registrations, set[str]()
        while process.poll() is None:
            (version,) = active(registrations)
            seen.add(version)
        assert process.returncode == 0
    assert seen == {FIRST, SECOND}


@pytest.mark.parametrize("space", [1, 100, 600])
def test_a_disk_that_is_full_is_said_so(
    tmp_path: Path, undisturbed: dict[str, bytes], space: int
) -> None:
    with child(PUSH, tmp_path, "full", space) as process:
        message, where = json.loads(line(process))
        assert message == "the embedded backend cannot be used: file too large"
        assert where.startswith(str(tmp_path / ".mfbuild/flyte"))
        assert process.wait(WAIT) == 1
    assert list((tmp_path / ".mfbuild/flyte/tmp").iterdir()) == []
    registrations = backend(tmp_path).registrations
    push_twice(registrations)
    assert content(tmp_path) == undisturbed
