"""Bundles in a real registry: pushed, found, read, copied to another repository, and pulled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from mfbuild.bundle.read import Bundle, read_bundle, verify_bundle, write_tar
from mfbuild.bundle.remote import RemoteBundle, find_remote, open_remote, pull_bundle, push_bundle
from mfbuild.bundle.write import bundle_index, write_bundle
from mfbuild.engine.events import Silent
from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError, FetchError, PushError, UsageError
from mfbuild.oci.access import Registry
from mfbuild.oci.registry import Repository
from mfbuild.oci.types import IMAGE_INDEX, Descriptor
from tests.layouts import Store, sample_bundle
from tests.proxy import Proxy, proxied
from tests.pushes import state
from tests.registry import docker_registry

pytestmark = pytest.mark.tools


@dataclass(frozen=True)
class Place:
    """A registry that is asked through a proxy, which counts."""

    proxy: Proxy
    folder: Path

    def repository(self, path: str = "team/trainflow") -> Repository:
        return Repository(Registry(self.proxy.host, {}, sleep=lambda seconds: None), path)

    def named(self, bundle: Bundle, path: str = "team/trainflow") -> str:
        return f"oci://{self.proxy.host}/{path}:{bundle.manifest.version}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with docker_registry(tmp_path / "registry") as host, proxied(host) as proxy:
        yield Place(proxy, tmp_path / "registry")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    store = Store(tmp_path / "store")
    return read_bundle(write_bundle(sample_bundle(store), store.blobs, tmp_path / "dist"))


def push(bundle: Bundle | RemoteBundle, to: Repository, mount: tuple[str, ...] = ()) -> bool:
    return push_bundle(bundle, to, jobs=4, reporter=Silent(), mount=mount)


def pull(reference: str, dist: Path) -> Path:
    return pull_bundle(open_remote(reference, {}), dist, jobs=4, reporter=Silent())


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_it_is_pushed_found_and_read(place: Place, bundle: Bundle) -> None:
    repository = place.repository()
    assert find_remote(repository, bundle.manifest.version) is None
    assert push(bundle, repository)
    found = find_remote(repository, bundle.manifest.version)
    assert found == RemoteBundle(bundle.manifest, repository)
    assert open_remote(place.named(bundle), {}).manifest == bundle.manifest
    for descriptor in (bundle.manifest.code, bundle.manifest.flyte):
        assert found.read(descriptor) == bundle.read(descriptor)
    index = repository.tagged(bundle.manifest.version)
    assert index == bundle.layout.read("index.json") == bundle_index(bundle.manifest)


def test_what_is_there_costs_one_request(place: Place, bundle: Bundle) -> None:
    assert push(bundle, place.repository())
    place.proxy.seen.clear()
    assert not push(bundle, place.repository())
    assert [seen.kind for seen in place.proxy.seen] == ["HEAD tag"]


def test_a_blob_that_images_share_is_sent_once(place: Place, bundle: Bundle) -> None:
    push(bundle, place.repository())
    blobs = [
        name for name in bundle.layout.files if name.startswith("blobs/") and "/sha256/" in name
    ]
    documents = place.proxy.count("PUT manifest")
    assert place.proxy.count("PUT upload") == place.proxy.count("HEAD blob")
    assert place.proxy.count("PUT upload") + documents == len(blobs)
    assert place.proxy.count("PUT tag") == 1
    kinds = [seen.kind for seen in place.proxy.seen]
    last_blob = len(kinds) - 1 - kinds[::-1].index("PUT upload")
    assert last_blob < kinds.index("PUT manifest")
    assert kinds[-1] == "PUT tag"


def test_a_second_repository_gets_no_bytes(place: Place, bundle: Bundle) -> None:
    push(bundle, place.repository())
    for path, origin, mount in (
        ("team/prod", find_remote(place.repository(), bundle.manifest.version), ()),
        ("team/elsewhere", bundle, ("team/none", "team/trainflow")),
    ):
        assert origin is not None
        place.proxy.seen.clear()
        assert push(origin, place.repository(path), mount)
        assert place.proxy.count("POST mount") > 0
        assert place.proxy.count("POST upload") == place.proxy.count("PUT upload") == 0
        found = find_remote(place.repository(path), bundle.manifest.version)
        assert found is not None
        assert found.manifest == bundle.manifest


def test_another_registry_gets_it_from_the_first(
    place: Place, bundle: Bundle, tmp_path: Path
) -> None:
    push(bundle, place.repository())
    origin = find_remote(place.repository(), bundle.manifest.version)
    assert origin is not None
    with docker_registry(tmp_path / "other") as host:
        target = Repository(Registry(host, {}), "prod/trainflow")
        assert push(origin, target, mount=("team/trainflow",))
        pulled = pull(f"oci://{target}:{bundle.manifest.version}", tmp_path / "pulled")
    assert content(pulled) == content(bundle.layout.path)


def test_it_is_pulled_as_it_was(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    push(bundle, place.repository())
    dist = tmp_path / "pulled"
    path = pull(place.named(bundle), dist)
    assert path == dist / f"TrainFlow-{bundle.manifest.version}"
    assert content(path) == content(bundle.layout.path)
    assert verify_bundle(path) == []
    assert {p.name for p in dist.iterdir()} == {path.name, ".lock", ".pull.lock"}
    place.proxy.seen.clear()
    assert pull(place.named(bundle), dist) == path
    assert {seen.kind for seen in place.proxy.seen} == {"GET tag", "GET manifest", "GET blob"}
    assert place.proxy.count("GET blob") == 1, "only bundle.json"


def test_it_is_pulled_by_digest(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    push(bundle, place.repository())
    digest = Digest.of(bundle_index(bundle.manifest))
    reference = f"oci://{place.repository()}@{digest}"
    assert content(pull(reference, tmp_path / "pulled")) == content(bundle.layout.path)


def test_a_bundle_in_one_file_is_pushed(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    assert push(read_bundle(write_tar(bundle, tmp_path / "b.tar")), place.repository())
    assert content(pull(place.named(bundle), tmp_path / "pulled")) == content(bundle.layout.path)


def test_many_may_push_at_once(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        pushes = [pool.submit(push, bundle, place.repository()) for _ in range(4)]
    assert any(pushed.result() for pushed in pushes)
    assert content(pull(place.named(bundle), tmp_path / "pulled")) == content(bundle.layout.path)
    assert push(bundle, place.repository("team/alone"))
    assert state(place.folder, "team/trainflow") == state(place.folder, "team/alone")


def test_many_may_pull_at_once(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    push(bundle, place.repository())
    with ThreadPoolExecutor(4) as pool:
        pulls = [pool.submit(pull, place.named(bundle), tmp_path / "x") for _ in range(4)]
    [path] = {pulled.result() for pulled in pulls}
    assert content(path) == content(bundle.layout.path)


FULL = """
import resource, signal, sys
from pathlib import Path
from mfbuild.bundle.remote import open_remote, pull_bundle
from mfbuild.engine.events import Silent
from mfbuild.errors import BundleError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    pull_bundle(open_remote(sys.argv[1], {}), Path(sys.argv[2]), jobs=4, reporter=Silent())
except BundleError as error:
    print(error)
"""


def test_a_disk_that_is_full(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    push(bundle, place.repository())
    command = [sys.executable, "-c", FULL, place.named(bundle), str(tmp_path / "pulled")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    path = tmp_path / "pulled" / bundle.layout.path.name
    assert told == f"writing `{path}`: file too large\n"
    assert {p.name for p in (tmp_path / "pulled").iterdir()} <= {".pull.lock", ".lock"}
    assert content(pull(place.named(bundle), tmp_path / "pulled")) == content(bundle.layout.path)


def test_a_layout_that_has_changed_is_not_pushed(place: Place, bundle: Bundle) -> None:
    blob = bundle.layout.path / "blobs/sha256" / bundle.manifest.code.digest.hex
    blob.unlink()
    blob.write_bytes(b"c0de")
    with pytest.raises(BundleError) as caught:
        push(bundle, place.repository())
    assert str(caught.value) == f"blob `{bundle.manifest.code.digest}` has changed"
    assert not place.repository().has(bundle.manifest.code.digest)
    assert not place.repository().has(Digest.of(b"c0de"))
    assert place.repository().find(bundle.manifest.version) is None
    blob.write_bytes(b"code")
    assert push(bundle, place.repository())


def put(place: Place, tag: str, data: bytes, media_type: str = IMAGE_INDEX) -> None:
    """Have a document in the repository that no push of ours puts there."""
    repository = place.repository()
    repository.registry.ask(
        "PUT",
        repository.url(f"manifests/{tag}"),
        scope="",
        headers={"Content-Type": media_type},
        body=data,
        read=lambda response: None,
    )


def test_another_thing_under_a_version_is_kept(place: Place, bundle: Bundle) -> None:
    version = bundle.manifest.version
    other = json.dumps({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []}).encode()
    put(place, version, other)
    with pytest.raises(PushError) as caught:
        push(bundle, place.repository())
    expected = f"`{place.repository()}:{version}` is there, and is something else: "
    assert str(caught.value) == f"{expected}`{Digest.of(other)}`"
    assert place.repository().tagged(version) == other
    with pytest.raises(BundleError) as broken:
        find_remote(place.repository(), version)
    assert str(broken.value) == f"`{place.repository()}:{version}` is not a bundle"


def test_a_bundle_under_another_version_is_not_taken(place: Place, bundle: Bundle) -> None:
    push(bundle, place.repository())
    put(place, "0" * 40, bundle_index(bundle.manifest))
    with pytest.raises(BundleError) as caught:
        find_remote(place.repository(), "0" * 40)
    assert str(caught.value).endswith(f"is the bundle of version `{bundle.manifest.version}`")


def test_an_index_with_more_than_its_bundle_says_is_not_taken(
    place: Place, bundle: Bundle, tmp_path: Path
) -> None:
    push(bundle, place.repository())
    entries = json.loads(bundle_index(bundle.manifest))
    put(place, "more", json.dumps(entries | {"annotations": {"a": "b"}}).encode())
    reference = f"oci://{place.repository()}:more"
    with pytest.raises(BundleError, match=r"is not the bundle that its `bundle\.json` describes"):
        pull(reference, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("train.tar", "`train.tar` does not start with `oci://`"),
        ("oci://host.example/a", "`oci://host.example/a` has neither a tag nor a digest"),
        ("oci://oci:x@y:z", "`oci://oci:x@y:z` has neither a tag nor a digest"),
        ("oci://python:3", "`python:3` does not start with a registry's host name"),
    ],
)
def test_what_cannot_be_pulled(tmp_path: Path, reference: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        pull(reference, tmp_path)
    assert str(caught.value) == message
    assert caught.value.problems[0].hint is not None


def test_what_is_not_there(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        pull(place.named(bundle), tmp_path / "pulled")
    name = place.named(bundle).removeprefix("oci://")
    assert str(caught.value) == f"there is no `{name}`"


def test_a_damaged_blob_is_not_pulled(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    push(bundle, place.repository())
    code: Descriptor = bundle.manifest.code
    [stored] = (place.folder / "data").rglob(f"{code.digest.hex}/data")
    stored.write_bytes(b"c0de")
    with pytest.raises(FetchError, match="is not what its digest promises"):
        pull(place.named(bundle), tmp_path / "pulled")
    assert {p.name for p in (tmp_path / "pulled").iterdir()} == {".pull.lock"}
