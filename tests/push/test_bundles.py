"""Where a domain's bundles are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.bundle.remote import push_bundle
from mfbuild.bundle.write import write_bundle
from mfbuild.engine.events import Silent
from mfbuild.errors import BundleError
from mfbuild.oci.access import Registry
from mfbuild.push.bundles import InRegistry
from mfbuild.report import reporter
from tests.layouts import Store, sample_bundle
from tests.pushes import repository
from tests.registry import scripted
from tests.strict import StrictRegistry


def test_a_bundle_of_another_flow_is_not_taken_for_the_one_asked_for(tmp_path: Path) -> None:
    """Flows whose names differ by case alone share a repository."""
    store = Store(tmp_path / "store")
    bundle: Bundle = read_bundle(write_bundle(sample_bundle(store), store.blobs, tmp_path / "dist"))
    version = bundle.manifest.version
    with scripted(StrictRegistry()) as server:
        bundles = InRegistry(
            f"{server.host}/team",
            1,
            reporter("none", quiet=True),
            lambda h: Registry(h, os.environ),
        )
        assert bundles.find("Repo", version) is None
        push_bundle(bundle, repository(server.host), jobs=1, reporter=Silent())
        with pytest.raises(BundleError) as raised:
            bundles.find("Repo", version)
        assert str(raised.value) == (
            f"`{server.host}/team/repo:{version}` is the bundle of the flow `TrainFlow`"
        )
