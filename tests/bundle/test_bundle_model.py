"""The bundle manifest: its JSON, its version, and what does not enter it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mfbuild.bundle.model import BundleImage, BundleManifest, DomainRecord, assemble
from mfbuild.bundle.write import bundle_index
from mfbuild.engine.model import Blob, Digest
from mfbuild.errors import BundleError
from mfbuild.flow.codec import from_public_json, public_json
from tests.layouts import AMD64, ARM64
from tests.specs import flow, step

S3 = {"datastore_sysroot_s3": "s3://bucket/metaflow"}


def blob(name: str) -> Blob:
    return Blob(Digest.of(name.encode()), len(name))


MEMORY: Mapping[str, float] = {"cpu": 0.5, "memory": 4096}


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
        "spec": replace(flow(step("start", next=("train",)), step("train")), doc="Größe"),
        "domains": {
            "staging": DomainRecord("registry.example.com/ml", None, ("pull",), S3, MEMORY)
        },
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
        "spec": json.loads(json.dumps(public_json(parts()["spec"]))),
        "domains": {
            "staging": {
                "registry": "registry.example.com/ml",
                "service_account": None,
                "image_pull_secrets": ["pull"],
                "metaflow": S3,
                "resources": MEMORY,
            }
        },
    }
    assert {plain, pandas} == {image.index for image in manifest.images}


def test_bundle_json_is_sorted_indented_and_utf8() -> None:
    data = assemble(**parts()).encode()
    assert data.startswith(b'{\n  "code": {\n    "digest": "sha256:')
    assert data.endswith(b"}\n")
    assert "Größe".encode() in data


def test_a_bundle_of_before_says_nothing_of_resources() -> None:
    document = json.loads(assemble(**parts()).encode())
    del document["domains"]["staging"]["resources"]
    old = BundleManifest.parse(json.dumps(document).encode())
    assert old.domains["staging"].resources == {}
    assert old.content_version() != assemble(**parts()).version


def test_golden_version() -> None:
    manifest = assemble(**parts())
    found = (
        manifest.version,
        str(Digest.of(manifest.encode())),
        str(Digest.of(bundle_index(manifest))),
    )
    assert found == (
        "79d602bcebf1717accb8b355cff667656993f5b2",
        "sha256:1b093ebd83466cb17225a36dc49c9fbcc25afb3f4669b74015abb1302eb8fd43",
        "sha256:c266c163b097eb57018638ede83279ecbc9db35f8c3c257e05df4f71f8c097aa",
    )


def test_the_order_in_which_parts_arrive_does_not_matter() -> None:
    other = parts()
    other["steps"] = dict(reversed(other["steps"].items()))
    other["images"].reverse()
    assert assemble(**other).encode() == assemble(**parts()).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"flow": "Other", "spec": replace(parts()["spec"], name="Other")},
        {"code": blob("other")},
        {"spec": replace(parts()["spec"], doc="")},
        {"domains": {}},
        {"steps": {name: (blob("plain"), digest("none")) for name in ("start", "train")}},
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
    forged = {**value, "version": "f" * 40}
    assert BundleManifest.parse(json.dumps(forged).encode()).content_version() == manifest.version


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "`bundle.json` is not a bundle manifest"),
        (b"[1]", "`bundle.json` is not a bundle manifest"),
        (b'{"format":2}', "`bundle.json` has the format `2`, not `1`"),
        (b'{"format":1}', "`bundle.json` is not a bundle manifest: `flow` is missing"),
        (
            b'{"format":1,"flow":"F","version":1}',
            "`bundle.json` is not a bundle manifest: `version`: not a string",
        ),
        (
            b'{"format":1,"flow":"../F","version":""}',
            "`bundle.json` is not a bundle manifest: `flow`: `../F` is not a name",
        ),
        (b'{"format":1,"flow":NaN}', "`bundle.json` is not a bundle manifest"),
        (b'{"format":1,"flow":"\\ud800"}', "`bundle.json` is not a bundle manifest"),
    ],
)
def test_what_is_no_manifest(data: bytes, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        BundleManifest.parse(data)
    assert str(caught.value) == message


def test_a_step_has_a_name_that_leads_nowhere() -> None:
    with pytest.raises(BundleError, match=r"`steps`: `\.\./x` is not a name"):
        parse(document() | {"steps": {"../x": document()["steps"]["start"]}})


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(assemble(**parts()).encode())
    return found


def parse(value: object) -> BundleManifest:
    return BundleManifest.parse(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("path", "wrong", "told"),
    [
        ("steps", None, "`steps`: not an object"),
        ("steps.start.image", {}, "`steps.start.image`: `mediaType` is missing"),
        ("steps.start.environment", 1, "`steps.start.environment`: "),
        ("images.0.manifests", [], "`images[0].manifests`: not an object"),
        ("images.0.manifests.linux/amd64", "x", '`images[0].manifests["linux/amd64"]`: '),
        ("code.size", "many", "`code`: "),
        ("spec", 3, "`spec`: not an object"),
        ("spec", [], "`spec`: not an object"),
        ("spec", {}, "`spec`: `host` is missing"),
        ("spec.steps.0.type", "loop", "`spec.steps[0].type`: `loop` is not one of start, linear"),
        ("spec.steps.1.next", [1], "`spec.steps[1].next[0]`: not a string"),
        ("spec.steps.1.retry", {"times": "3"}, "`spec.steps[1].retry`: `minutes_between_retries`"),
        ("spec.parameters", None, "`spec.parameters`: not an array"),
        ("spec.name", "OtherFlow", "`spec`: another flow than the bundle's own"),
        ("spec.start", "nowhere", "`spec`: another flow than the bundle's own"),
        ("domains", [], "`domains`: not an object"),
        ("domains.staging", None, "`domains.staging`: not an object"),
        ("domains.staging", {}, "`domains.staging`: `registry` is missing"),
        ("domains.staging.registry", 1, "`domains.staging.registry`: not a string"),
        ("domains.staging.service_account", [], "`domains.staging.service_account`: not a string"),
        ("domains.staging.image_pull_secrets", [1], "`domains.staging.image_pull_secrets[0]`: "),
        ("domains.staging.metaflow", 3, "`domains.staging.metaflow`: not an object"),
        ("domains.staging.metaflow", {"a": 1}, "`domains.staging.metaflow.a`: not a string"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_told_by_where_it_stands(
    path: str, wrong: object, told: str
) -> None:
    value = document()
    *way, last = path.split(".")
    found: Any = value
    for name in way:
        found = found[int(name) if name.isdecimal() else name]
    found[last] = wrong
    with pytest.raises(BundleError) as caught:
        parse(value)
    assert str(caught.value).startswith(f"`bundle.json` is not a bundle manifest: {told}")


def test_what_a_later_version_has_added_stays_in_the_bytes_and_in_the_version() -> None:
    value = document()
    for holder in (value, value["spec"], value["spec"]["steps"][0], value["domains"]["staging"]):
        holder["later"] = {"any": ["thing", None, 0.5]}
    value["steps"]["start"]["later"] = value["images"][0]["later"] = 1
    told = parse(value).content_version()
    manifest = parse(value | {"version": told})
    assert manifest.content_version() == manifest.version == told
    assert told != document()["version"]
    assert json.loads(manifest.encode()) == value | {"version": told}
    assert BundleManifest.parse(manifest.encode()).encode() == manifest.encode()
    known = parse(document())
    assert (manifest.spec, manifest.domains) == (known.spec, known.domains)


def test_what_an_earlier_version_did_not_have_yet_has_its_default() -> None:
    value = document()
    for each in value["spec"]["steps"]:
        del each["file"]
    manifest = parse(value)
    assert [found.file for found in manifest.spec.steps] == [None, None]
    assert "file" not in json.loads(manifest.encode())["spec"]["steps"][0]


def test_a_manifest_holds_the_public_flow() -> None:
    assert assemble(**parts()).spec == from_public_json(public_json(parts()["spec"]))
