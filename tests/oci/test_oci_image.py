"""Image configs, manifests and indexes, and the collisions between layers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mfbuild.engine.model import Digest
from mfbuild.errors import ActionError
from mfbuild.oci import image as tools
from mfbuild.oci.tar import HASHED
from mfbuild.oci.types import LAYER_GZIP, Descriptor, LayerInfo, Platform
from tests.layouts import AMD64, ARM64, Image, Layer, image_work, layer, make_image, make_index

PARAMS = {
    "platform": "linux/arm64/v8",
    "user": "65532:65532",
    "env": ["PATH=/opt/venv/bin:/usr/bin", "VIRTUAL_ENV=/opt/venv"],
    "entrypoint": ["/usr/bin/tini", "--"],
    "cmd": ["/opt/venv/bin/python"],
    "workdir": "/home/nonroot",
    "labels": {"dev.mfbuild.environment": "é"},
}


def fixed_layer(name: str, *, foreign: bool = False) -> Layer:
    """A layer whose bytes no compressor shapes."""
    info = LayerInfo(Digest.of(name.encode()), f"wheel {name}")
    return Layer(f"layer {name}".encode(), info, f"{name}\t1\t644\t{name}\n", foreign=foreign)


def fixed_image(scratch: Path) -> Image:
    layers = [fixed_layer("base", foreign=True), fixed_layer("numpy"), fixed_layer("pandas")]
    return make_image(scratch, layers, **PARAMS)


def test_the_config_is_what_the_image_spec_says(tmp_path: Path) -> None:
    assert json.loads(fixed_image(tmp_path).config) == {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": "65532:65532",
            "Env": ["PATH=/opt/venv/bin:/usr/bin", "VIRTUAL_ENV=/opt/venv"],
            "Entrypoint": ["/usr/bin/tini", "--"],
            "Cmd": ["/opt/venv/bin/python"],
            "WorkingDir": "/home/nonroot",
            "Labels": {"dev.mfbuild.environment": "é"},
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [str(Digest.of(name)) for name in (b"base", b"numpy", b"pandas")],
        },
        "history": [
            {"created": "1970-01-01T00:00:00Z", "created_by": text}
            for text in ("base image", "wheel numpy", "wheel pandas")
        ],
    }


def test_the_manifest_names_the_config_and_the_layers_in_order(tmp_path: Path) -> None:
    image = fixed_image(tmp_path)
    manifest = json.loads(image.manifest)
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"] == {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": str(Digest.of(image.config)),
        "size": len(image.config),
    }
    expected = [Descriptor(LAYER_GZIP, Digest.of(e.data), len(e.data)) for e in image.layers]
    assert [Descriptor.parse(value) for value in manifest["layers"]] == expected


def test_the_index_is_sorted_by_platform(tmp_path: Path) -> None:
    images = {
        p: make_image(tmp_path, [fixed_layer("base")], platform=str(p)) for p in (ARM64, AMD64)
    }
    index = json.loads(make_index(tmp_path, images))
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [m["platform"] for m in index["manifests"]] == [AMD64.json(), ARM64.json()]
    assert [m["digest"] for m in index["manifests"]] == [
        str(Digest.of(images[p].manifest)) for p in (AMD64, ARM64)
    ]


def test_a_variant_does_not_disturb_the_order(tmp_path: Path) -> None:
    platforms = (Platform("linux", "arm", "v7"), Platform("linux", "arm"), AMD64)
    images = {p: make_image(tmp_path, [fixed_layer("b")], platform=str(p)) for p in platforms}
    found = json.loads(make_index(tmp_path, images))["manifests"]
    assert [m["platform"].get("variant") for m in found] == [None, None, "v7"]


def test_golden_digests(tmp_path: Path) -> None:
    image = fixed_image(tmp_path)
    amd64 = make_image(tmp_path, image.layers, **{**PARAMS, "platform": "linux/amd64"})
    index = make_index(tmp_path, {Platform("linux", "arm64", "v8"): image, AMD64: amd64})
    digests = [str(Digest.of(data)) for data in (image.config, image.manifest, index)]
    assert digests == [
        "sha256:a50cf3a85553f217d3cd462498a350026eeeee6972f5c347c332685338895b58",
        "sha256:15273322e8b5cd11aa882af22915dea9d200834705eaf6024ed8edd37670929f",
        "sha256:22d8efe8017602804ae87bed123105ff3fb2752aceb831c4d7ac287c295f1b22",
    ]


def test_layers_up_to_127_are_one_image(tmp_path: Path) -> None:
    layers = [fixed_layer(f"wheel{n}") for n in range(127)]
    assert len(json.loads(make_image(tmp_path, layers).manifest)["layers"]) == 127
    with pytest.raises(ActionError, match="the image has `128` layers; at most 127 can be run"):
        make_image(tmp_path, [*layers, fixed_layer("one more")])


def test_nothing_is_written_where_layers_collide(tmp_path: Path) -> None:
    work = image_work(tmp_path, [layer({"a": b"1"}, "one"), layer({"a": b"2"}, "two")])
    with pytest.raises(ActionError):
        tools.image(work)
    assert not any(path.exists() for path in work.outputs.values())


def collisions(*layers: Layer, scratch: Path) -> list[str]:
    with pytest.raises(ActionError) as caught:
        make_image(scratch, layers)
    return [problem.message for problem in caught.value.problems]


def test_every_two_owners_that_disagree_are_named_with_examples(tmp_path: Path) -> None:
    many = {f"opt/x/{n}.py": b"one" for n in range(5)}
    one = layer({**many, "opt/same.py": b"same"}, "one-1.0-py3-none-any.whl")
    two = layer({**dict.fromkeys(many, b"two"), "opt/same.py": b"same"}, "two-2.0.whl")
    three = layer({"opt/x/0.py": b"three"}, "three-3.0.whl")
    assert collisions(one, two, three, scratch=tmp_path) == [
        "`one-1.0-py3-none-any.whl` and `three-3.0.whl` bring different content to `opt/x/0.py`",
        "`one-1.0-py3-none-any.whl` and `two-2.0.whl` bring different content to"
        " `opt/x/0.py`, `opt/x/1.py`, `opt/x/2.py` and 2 more",
    ]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    file = layer({"opt/lib": b"a file"}, "one")
    below = layer({"opt/lib/deep/er.py": b""}, "two")
    expected = ["`one` and `two` bring different content to `opt/lib`"]
    assert collisions(file, below, scratch=tmp_path) == expected
    assert collisions(below, file, scratch=tmp_path) == expected


def test_the_same_file_twice_is_no_collision(tmp_path: Path) -> None:
    namespace = {"opt/google/__init__.py": b"", "opt/google/deep/__init__.py": b""}
    make_image(tmp_path, [layer(namespace, "one"), layer({**namespace, "opt/z": b"z"}, "two")])


def test_of_large_files_equality_has_to_be_proven(tmp_path: Path) -> None:
    """Here by nobody: one CRC-32 is no proof."""
    one, two = (layer({"opt/x": bytes(HASHED + 1)}, owner) for owner in ("one", "two"))
    expected = ["`one` and `two` bring different content to `opt/x`"]
    assert collisions(one, two, scratch=tmp_path) == expected


def test_a_layer_of_no_bytes_is_none(tmp_path: Path) -> None:
    base = fixed_layer("base")
    none = replace(base, data=b"", paths="a\t1:1\t644\tone\n")
    assert make_image(tmp_path, [base, none]).manifest == make_image(tmp_path, [base]).manifest


def test_a_path_may_hold_spaces_and_any_letter(tmp_path: Path) -> None:
    one, two = layer({"opt/ä b": b"1"}, "one"), layer({"opt/ä b": b"2"}, "two")
    assert collisions(one, two, scratch=tmp_path) == [
        "`one` and `two` bring different content to `opt/ä b`"
    ]
