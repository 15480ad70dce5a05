"""The bundles that the embedded backend keeps: copies of their own, found when dist is gone."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mfbuild.bundle.read import Bundle, read_bundle, verify_bundle, write_tar
from mfbuild.bundle.write import write_bundle
from mfbuild.errors import BundleError
from tests.layouts import Store, sample_bundle
from tests.local.registering import backend
from tests.push.pushing import make_bundle, train_flow


def packaged(root: Path, code: bytes = b"code") -> Bundle:
    store = Store(root / "blobs")
    return read_bundle(write_bundle(sample_bundle(store, code=code), store.blobs, root / "dist"))


def test_a_kept_bundle_is_found_when_dist_was_cleaned(tmp_path: Path) -> None:
    bundle, kept = packaged(tmp_path), backend(tmp_path)
    flow, version = bundle.manifest.flow, bundle.manifest.version
    assert kept.find_bundle(flow, version) is None
    files = bundle.layout.files
    shared = {name for name in files if files[name].path.stat().st_nlink > 1}
    path = kept.keep_bundle(bundle)
    assert path == tmp_path / f".mfbuild/flyte/bundles/TrainFlow-{version}"
    assert len(shared) > 5  # layers and all else that is the store's too
    assert {name for name in files if (path / name).samefile(files[name].path)} == shared
    shutil.rmtree(tmp_path / "dist")
    found = kept.find_bundle(flow, version)
    assert found is not None
    assert found.manifest == bundle.manifest
    assert verify_bundle(path) == []
    assert kept.keep_bundle(found) == path
    assert kept.find_bundle(flow, "0" * 40) is None
    assert kept.find_bundle("../bundles/TrainFlow", version) is None


def test_a_flow_whose_name_has_letters_of_any_alphabet(tmp_path: Path) -> None:
    bundle, kept = make_bundle(tmp_path, train_flow(name="Flüsse")), backend(tmp_path)
    path = kept.keep_bundle(bundle)
    found = kept.find_bundle("Flüsse", bundle.manifest.version)
    assert found is not None and found.layout.path == path


def test_a_bundle_in_one_file_is_kept_as_a_layout(tmp_path: Path) -> None:
    bundle = packaged(tmp_path)
    tar = read_bundle(write_tar(bundle, tmp_path / "bundle.tar"))
    path = backend(tmp_path / "other").keep_bundle(tar)
    assert verify_bundle(path) == []
    assert read_bundle(path).manifest == bundle.manifest
    tar.layout.path.write_bytes(tar.layout.path.read_bytes()[:-20000])
    with pytest.raises(BundleError, match="has changed"):
        backend(tmp_path / "third").keep_bundle(tar)


def test_many_keep_one_bundle_at_once(tmp_path: Path) -> None:
    bundles = [packaged(tmp_path, code=code) for code in (b"one", b"two")]
    with ThreadPoolExecutor(8) as pool:
        backends = [backend(tmp_path) for _ in range(8)]
        paths = set(pool.map(lambda n: backends[n].keep_bundle(bundles[n % 2]), range(8)))
    assert len(paths) == 2
    assert [verify_bundle(path) for path in sorted(paths)] == [[], []]
    names = {p.name for p in (tmp_path / ".mfbuild/flyte/bundles").iterdir()}
    assert names == {".lock", *(path.name for path in paths)}


def test_a_kept_bundle_that_was_damaged_is_written_again(tmp_path: Path) -> None:
    bundle, kept = packaged(tmp_path), backend(tmp_path)
    path = kept.keep_bundle(bundle)
    (path / "index.json").write_text("{}")
    with pytest.raises(BundleError):
        kept.find_bundle(bundle.manifest.flow, bundle.manifest.version)
    assert kept.keep_bundle(bundle) == path
    assert verify_bundle(path) == []
