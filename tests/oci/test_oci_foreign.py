"""OCI images of others as bases, from a layout and from a real registry."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError, FetchError, UsageError
from mfbuild.oci.archive import host_platform
from mfbuild.oci.foreign import foreign_resolver, resolve_foreign
from mfbuild.oci.foreign_python import describe_foreign
from mfbuild.oci.image import image_index
from mfbuild.oci.layout import write_layout
from mfbuild.oci.types import IMAGE_INDEX, LAYER_GZIP, REF_NAME, Descriptor, ForeignBase, Platform
from tests.layouts import AMD64, ARM64, BOTH, Store, layer, store_image
from tests.registry import docker_registry

ENV = ["PATH=/usr/local/bin:/usr/bin", "PYTHON_VERSION=3.11.9", "EMPTY="]


class Held:
    """An image source in memory, of documents that tests write as they like."""

    def __init__(self) -> None:
        self.documents: dict[Digest, bytes] = {}

    def add(self, value: Any) -> Digest:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.documents[Digest.of(data)] = data
        return Digest.of(data)

    def described(self, value: Any, media_type: str, **more: Any) -> dict[str, Any]:
        digest = self.add(value)
        size = len(self.documents[digest])
        return {"mediaType": media_type, "digest": str(digest), "size": size, **more}

    def manifest(self, digest: Digest) -> bytes:
        return self.documents[digest]

    def blob(self, digest: Digest) -> bytes:
        return self.documents[digest]


def docker_image(held: Held, architecture: str = "amd64", **config: Any) -> dict[str, Any]:
    """A manifest of docker's schema 2, with its config."""
    value = {
        "os": "linux",
        "architecture": architecture,
        "config": {"Env": ENV},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b"one")), str(Digest.of(b"two"))]},
        **config,
    }
    kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": held.described(value, "application/vnd.docker.container.image.v1+json"),
        "layers": [held.described(b"layer 1", kind), held.described(b"layer 2", kind)],
    }


def docker_list(held: Held, platforms: list[dict[str, str]]) -> Digest:
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    return held.add(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
            "manifests": [
                held.described(docker_image(held, p["architecture"]), kind, platform=p)
                for p in platforms
            ],
        }
    )


def name(digest: Digest) -> str:
    return f"registry.example.com/python@{digest}"


def linux(architecture: str, **more: str) -> dict[str, str]:
    return {"os": "linux", "architecture": architecture, **more}


def test_docker_media_types_become_those_of_oci_over_the_same_bytes() -> None:
    held = Held()
    digest = docker_list(held, [linux("amd64"), linux("arm64", variant="v8")])
    found = resolve_foreign(name(digest), BOTH, held)
    assert list(found) == [AMD64, ARM64]
    base = found[AMD64]
    assert base.repository == "registry.example.com/python"
    assert base.env == tuple(ENV)
    assert [entry.descriptor for entry in base.layers] == [
        Descriptor(LAYER_GZIP, Digest.of(data), 7) for data in (b"layer 1", b"layer 2")
    ]
    assert [entry.diff_id for entry in base.layers] == [Digest.of(b"one"), Digest.of(b"two")]


def test_every_missing_platform_is_named_with_those_that_exist() -> None:
    held = Held()
    unknown = {"os": "unknown", "architecture": "unknown"}
    digest = docker_list(held, [linux("s390x"), linux("386"), unknown])
    with pytest.raises(UsageError) as caught:
        resolve_foreign(name(digest), BOTH, held)
    assert [(p.message, p.hint) for p in caught.value.problems] == [
        (f"`{name(digest)}` has no image for `{p}`", "it has `linux/386`, `linux/s390x`")
        for p in BOTH
    ]


def test_an_image_of_one_platform_is_known_by_its_config() -> None:
    held = Held()
    digest = held.add(docker_image(held, "arm64", variant="v8"))
    assert list(resolve_foreign(name(digest), [ARM64], held)) == [ARM64]
    with pytest.raises(UsageError) as caught:
        resolve_foreign(name(digest), [AMD64], held)
    assert caught.value.problems[0].hint == "it has `linux/arm64/v8`"


def test_a_variant_that_is_asked_for_is_needed() -> None:
    held = Held()
    digest = docker_list(held, [linux("arm", variant="v7"), linux("arm", variant="v6")])
    v6, plain = Platform("linux", "arm", "v6"), Platform("linux", "arm")
    assert list(resolve_foreign(name(digest), [v6], held)) == [v6]
    with pytest.raises(UsageError):
        resolve_foreign(name(digest), [plain], held)


def test_an_oci_manifest_need_not_say_what_it_is() -> None:
    held = Held()
    manifest = docker_image(held)
    del manifest["mediaType"]
    for entry in manifest["layers"]:
        entry["mediaType"] = LAYER_GZIP
    assert list(resolve_foreign(name(held.add(manifest)), [AMD64], held)) == [AMD64]


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"schemaVersion": 1}, "is not an image: it is `application/vnd.docker.distribution"),
    ({"mediaType": "text/plain"}, "is not an image: it is `text/plain`"),
    ({"layers": []}, "has `0` layers and `2` diffIDs"),
    ({"layers": "x"}, "has no valid `layers`"),
    ({"config": None}, "has no valid `config`"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_what_is_no_image(change: dict[str, Any], message: str) -> None:
    held = Held()
    digest = held.add(docker_image(held) | change)
    with pytest.raises((FetchError, BundleError)) as caught:
        resolve_foreign(name(digest), [AMD64], held)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rootfs": None}, "the config of `registry.example.com/python@"),
        ({"rootfs": {"diff_ids": ["md5:1"]}}, "the config of `registry.example.com/python@"),
        ({"config": []}, None),
        ({"config": "text"}, "the config of `registry.example.com/python@"),
    ],
)
def test_a_config_that_is_broken(config: dict[str, Any], message: str | None) -> None:
    held = Held()
    digest = held.add(docker_image(held, **config))
    if message is None:
        assert resolve_foreign(name(digest), [AMD64], held)[AMD64].env == ()
        return
    with pytest.raises(FetchError) as caught:
        resolve_foreign(name(digest), [AMD64], held)
    assert message in str(caught.value)


def test_layers_that_may_not_be_copied_are_refused() -> None:
    held = Held()
    manifest = docker_image(held)
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    manifest["layers"][0]["mediaType"] = kind
    with pytest.raises(FetchError, match=f"has a layer that cannot be copied: `{kind}`"):
        resolve_foreign(name(held.add(manifest)), [AMD64], held)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (ENV, ("3.11", "/usr/local/bin/python3.11")),
        (["PYTHON_VERSION=3.13.0rc2", "PATH=/opt/bin"], ("3.13", "/opt/bin/python3.13")),
        (["PYTHON_VERSION=3.12"], ("3.12", None)),
        (["PYTHON_VERSION=3", "PATH=/usr/bin"], (None, None)),
        (["PYTHON_VERSION=3.x"], (None, None)),
        ([], (None, None)),
    ],
)
def test_python_is_told_by_the_variables(
    env: list[str], expected: tuple[str | None, str | None]
) -> None:
    found = describe_foreign(ForeignBase("registry.example.com/python", (), tuple(env)))
    assert (found.python, found.interpreter) == expected
    assert found.release == {"3.11": "3.11.9", "3.13": "3.13.0rc2"}.get(found.python or "")


def test_a_reference_without_a_digest_is_refused() -> None:
    with pytest.raises(UsageError, match="does not name its image by digest"):
        resolve_foreign("registry.example.com/python:3.11", BOTH, Held())


def stored(tmp_path: Path) -> tuple[Path, Digest]:
    """A base image in a layout; the layout and the digest of the image's index."""
    store = Store(tmp_path / "store")
    layers = {p: [layer({"etc/arch": str(p).encode()}), layer({"usr/x": b"x"})] for p in BOTH}
    index, _ = store_image(store, layers, env=ENV)
    root = Descriptor(IMAGE_INDEX, index.digest, index.size, annotations={REF_NAME: "base"})
    directory = write_layout(tmp_path / "layout", image_index([root]), dict(store.blobs))
    return directory, index.digest


def check_base(base: ForeignBase, repository: str, platform: Platform) -> None:
    made = [layer({"etc/arch": str(platform).encode()}), layer({"usr/x": b"x"})]
    assert base.repository == repository
    assert base.env == tuple(ENV)
    assert [entry.diff_id for entry in base.layers] == [each.info.diff_id for each in made]
    assert [entry.descriptor for entry in base.layers] == [
        Descriptor(LAYER_GZIP, Digest.of(each.data), len(each.data)) for each in made
    ]


def test_a_base_in_a_layout(tmp_path: Path) -> None:
    directory, digest = stored(tmp_path)
    found = foreign_resolver({})(f"oci:{directory}@{digest}", BOTH)
    for platform in BOTH:
        check_base(found[platform], f"oci:{directory}", platform)


def test_a_layout_that_is_not_there(tmp_path: Path) -> None:
    reference = f"oci:{tmp_path / 'nowhere'}@{Digest.of(b'')}"
    with pytest.raises(BundleError, match="is not an OCI image layout: no such file"):
        foreign_resolver({})(reference, BOTH)


@pytest.mark.tools
def test_a_base_in_a_real_registry(tmp_path: Path) -> None:
    directory, digest = stored(tmp_path)
    with docker_registry(tmp_path / "registry") as host:
        copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{directory}:base"]
        subprocess.run([*copy, "--all", f"docker://{host}/ml/base:1"], check=True)
        found = foreign_resolver({})(f"{host}/ml/base@{digest}", BOTH)
        for platform in BOTH:
            check_base(found[platform], f"{host}/ml/base", platform)
        with pytest.raises(FetchError, match="does not have"):
            foreign_resolver({})(f"{host}/ml/other@{digest}", BOTH)

        # skopeo converts to docker's schema 2, whose manifest has another digest.
        subprocess.run([*copy, "--format=v2s2", f"docker://{host}/ml/base:2"], check=True)
        inspect = ["skopeo", "inspect", "--tls-verify=false", f"docker://{host}/ml/base:2"]
        answer = subprocess.run(inspect, check=True, capture_output=True)
        converted = json.loads(answer.stdout)["Digest"]
        assert converted != str(digest)
        ours = host_platform()
        docker = foreign_resolver({})(f"{host}/ml/base@{converted}", [ours])
        check_base(docker[ours], f"{host}/ml/base", ours)
