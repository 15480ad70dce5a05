"""The bundle manifest: its JSON, its version, and what does not enter it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mfbuild.bundle.model import BundleImage, BundleManifest, assemble
from mfbuild.bundle.write import bundle_index
from mfbuild.engine.model import Blob, Digest
from mfbuild.errors import BundleError
from tests.layouts import AMD64, ARM64


def blob(name: str) -> Blob:
    return Blob(Digest.of(name.encode()), len(name))


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def parts() -> dict[str, Any]:
    return {
        "flow": "TrainFlow",
        "steps": {
            "start": (blob("plain"), digest("no packages")),
            "train": (blob("pandas"), digest("pandas")),
        },
        "images": [
            BundleImage(digest("plain"), {ARM64: digest("arm"), AMD64: digest("amd")}),
            BundleImage(digest("pandas"), {AMD64: digest("amd2"), ARM64: digest("arm2")}),
        ],
        "code": blob("code"),
        "flyte": blob("flyte"),
        "spec": {"name": "TrainFlow", "doc": "Größe", "steps": [{"name": "start"}]},
        "domains": {"staging": {"registry": "registry.example.com/ml"}},
    }


def test_bundle_json_says_what_the_bundle_holds() -> None:
    manifest = assemble(**parts())
    plain, pandas = sorted([digest("plain"), digest("pandas")], reverse=True)
    assert json.loads(manifest.encode()) == {
        "format": 1,
        "flow": "TrainFlow",
        "version": manifest.version,
        "steps": {
            name: {
                "image": {
                    "mediaType": "application/vnd.oci.image.index.v1+json",
                    "digest": str(digest(image)),
                    "size": len(image),
                },
                "environment": str(digest(environment)),
            }
            for name, image, environment in (
                ("start", "plain", "no packages"),
                ("train", "pandas", "pandas"),
            )
        },
        "images": [
            {
                "index": str(index),
                "manifests": {"linux/amd64": str(digest(amd)), "linux/arm64": str(digest(arm))},
            }
            for index, amd, arm in sorted(
                [(digest("plain"), "amd", "arm"), (digest("pandas"), "amd2", "arm2")]
            )
        ],
        "code": {
            "mediaType": "application/vnd.mfbuild.code.v1.tar+gzip",
            "digest": str(digest("code")),
            "size": 4,
        },
        "flyte": {
            "mediaType": "application/vnd.mfbuild.flyte.v1+json",
            "digest": str(digest("flyte")),
            "size": 5,
        },
        "spec": parts()["spec"],
        "domains": parts()["domains"],
    }
    assert {plain, pandas} == {image.index for image in manifest.images}


def test_bundle_json_is_sorted_indented_and_utf8() -> None:
    data = assemble(**parts()).encode()
    assert data.startswith(b'{\n  "code": {\n    "digest": "sha256:')
    assert data.endswith(b"}\n")
    assert "Größe".encode() in data


def test_golden_version() -> None:
    manifest = assemble(**parts())
    found = (
        manifest.version,
        str(Digest.of(manifest.encode())),
        str(Digest.of(bundle_index(manifest))),
    )
    assert found == (
        "773ba86eb0a1db48dc5e2c1b790cb62921f06d1c",
        "sha256:a623979a7c3f912d66200524b6ffbad66fd9fc30fa875ce763299b829f602743",
        "sha256:4b7b15e90e4250a243eee7c8c1f3783f34e4e7670eef725fd29c38a6ae9de3c2",
    )


def test_the_order_in_which_parts_arrive_does_not_matter() -> None:
    other = parts()
    other["steps"] = dict(reversed(other["steps"].items()))
    other["images"].reverse()
    assert assemble(**other).encode() == assemble(**parts()).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"flow": "Other"},
        {"code": blob("other")},
        {"spec": {}},
        {"domains": {}},
        {"steps": {"start": (blob("plain"), digest("no packages"))}},
        {"images": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_is_in_the_version(change: dict[str, Any]) -> None:
    assert assemble(**{**parts(), **change}).version != assemble(**parts()).version


def test_what_is_written_is_read_again() -> None:
    manifest = assemble(**parts())
    again = BundleManifest.parse(manifest.encode())
    assert again == manifest
    assert again.content_version() == manifest.version


def test_the_version_is_that_of_the_content_with_a_blank_one() -> None:
    manifest = assemble(**parts())
    value = json.loads(manifest.encode())
    value["version"] = ""
    compact = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert manifest.version == Digest.of(compact.encode()).hex[:40]
    assert replace(manifest, version="f" * 40).content_version() == manifest.version


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "`bundle.json` is not a bundle manifest"),
        (b"[1]", "`bundle.json` is not a bundle manifest"),
        (b'{"format":2}', "`bundle.json` has the format `2`, not `1`"),
        (b'{"format":1}', "`bundle.json` is not a bundle manifest: 'flow'"),
        (
            b'{"format":1,"flow":"F","version":1}',
            "`bundle.json` is not a bundle manifest: `1` is not a string",
        ),
        (
            b'{"format":1,"flow":"../F","version":""}',
            "`bundle.json` is not a bundle manifest: `../F` is not the name of a flow",
        ),
    ],
)
def test_what_is_no_manifest(data: bytes, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        BundleManifest.parse(data)
    assert str(caught.value) == message


def test_a_step_has_a_name_that_leads_nowhere() -> None:
    forged = {**json.loads(assemble(**parts()).encode()), "steps": {"../x": None}}
    with pytest.raises(BundleError, match=r"`\.\./x` is not the name of a step"):
        BundleManifest.parse(json.dumps(forged).encode())
