"""Registries that do not take all that a bundle is: what they get in its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.bundle.remote import find_remote, push_bundle
from mfbuild.bundle.write import write_bundle
from mfbuild.engine.events import Silent
from mfbuild.errors import PushError
from mfbuild.oci.layout import reachable
from mfbuild.oci.registry import Repository
from tests.layouts import Store, sample_bundle
from tests.pushes import repository
from tests.registry import Answer, Request, scripted
from tests.strict import StrictRegistry

Refuse = Callable[[dict[str, Any]], Answer | None]


@dataclass
class Listener(Silent):
    """What a person is warned of."""

    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def refusing(status: int, code: str, message: str) -> Answer:
    return Answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode())


def nested(document: dict[str, Any]) -> Answer | None:
    if any("index" in child.get("mediaType", "") for child in document.get("manifests", ())):
        return refusing(400, "MANIFEST_INVALID", "image index child manifest not supported")
    return None


def artifact(document: dict[str, Any]) -> Answer | None:
    wanted = document.get("artifactType")
    return refusing(415, "MANIFEST_INVALID", "unknown artifact type") if wanted else None


def tag(document: dict[str, Any]) -> Answer | None:
    return refusing(400, "TAG_INVALID", "the tag is immutable") if nested(document) else None


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    store = Store(tmp_path / "store")
    return read_bundle(write_bundle(sample_bundle(store), store.blobs, tmp_path / "dist"))


@pytest.fixture
def strict() -> StrictRegistry:
    return StrictRegistry()


@pytest.fixture
def target(strict: StrictRegistry, request: pytest.FixtureRequest) -> Iterator[Repository]:
    """A repository of a registry that refuses what the test's parameter says."""
    refuse: Refuse = request.param

    def answer(asked: Request) -> Answer:
        document = asked.method == "PUT" and "/manifests/" in asked.path
        refusal = refuse(json.loads(asked.body)) if document else None
        return refusal or strict(asked)

    with scripted(answer) as server:
        yield repository(server.host)


@pytest.mark.parametrize("target", [nested, artifact], indirect=True)
def test_images_get_a_tag_each_where_a_bundle_is_not_taken(
    bundle: Bundle, strict: StrictRegistry, target: Repository
) -> None:
    listener = Listener()
    assert push_bundle(bundle, target, jobs=2, reporter=listener)
    (warning,) = listener.warnings
    assert "has the images alone, with a tag each; the bundle cannot be pulled" in warning
    version = bundle.manifest.version
    images = {step.image.digest: step.image for step in bundle.manifest.steps.values()}
    for digest, image in images.items():
        assert target.find(f"{version}-{digest.hex[:12]}") == digest
        for found in reachable(lambda d: target.manifest(d.digest), [image]):
            assert str(found.digest) in {*strict.blobs, *strict.manifests}
    assert find_remote(target, version) is None
    assert not push_bundle(bundle, target, jobs=2, reporter=listener)


@pytest.mark.parametrize("target", [tag], indirect=True)
def test_other_refusals_are_errors(bundle: Bundle, target: Repository) -> None:
    with pytest.raises(PushError, match="TAG_INVALID: the tag is immutable"):
        push_bundle(bundle, target, jobs=2, reporter=Silent())


def test_a_blob_that_is_too_large_is_named_with_its_size(bundle: Bundle) -> None:
    strict = StrictRegistry()

    def answer(asked: Request) -> Answer:
        too_large = asked.method == "PUT" and "/blobs/" in asked.path
        return Answer(413, b"<html>413") if too_large else strict(asked)

    with scripted(answer) as server, pytest.raises(PushError) as raised:
        push_bundle(bundle, repository(server.host), jobs=1, reporter=Silent())
    problem = raised.value.problems[0]
    found = re.search(r"the blob `sha256:(\w+)` of ([0-9.]+) MB: it is too large", problem.message)
    assert found
    assert found[2] == f"{bundle.layout.files[f'blobs/sha256/{found[1]}'].size / 1e6:.1f}"
    assert "client_max_body_size" in (problem.hint or "")
