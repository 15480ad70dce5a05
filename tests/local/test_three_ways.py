"""Every flow by Metaflow itself and by `mfbuild run`: the same tasks, attempts and artifacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mfbuild.oci.archive import host_platform
from tests.e2e.conftest import Runner
from tests.threeways.seen import Seen, environment, options, python_for, run_by_metaflow, seen
from tests.threeways.workspace import FAILING_FLOW, FLOWS, PARAMETERS, PLACES, run_first, workspace

WAYS = ("rootfs", "host")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = f'[workspace]\nplatforms = ["{host_platform()}"]\n'
    return workspace(tmp_path_factory.mktemp("work") / "flows", policy)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_leaves_what_it_leaves_with_metaflow(
    name: str, folder: Path, tmp_path: Path, mfbuild: Runner
) -> None:
    expected, *found = every_way(name, folder, tmp_path, mfbuild, **PARAMETERS.get(name, {}))
    assert expected.successful
    for each in found:
        assert each == expected


@pytest.mark.parametrize("failing", PLACES)
def test_a_flow_that_fails_ends_as_it_does_with_metaflow(
    failing: str, folder: Path, tmp_path: Path, mfbuild: Runner
) -> None:
    expected, *found = every_way(FAILING_FLOW, folder, tmp_path, mfbuild, failing=failing)
    assert expected.successful == (failing == "nowhere")
    for each in found:
        assert each == expected


def every_way(
    name: str, folder: Path, root: Path, mfbuild: Runner, **parameters: str
) -> list[Seen]:
    """A run of a flow by Metaflow, and one in each of WAYS, with their files in `root`."""
    python = python_for(name, folder, mfbuild)
    runs = []
    for way in ("metaflow", *WAYS):
        for flow in run_first(name):
            given = parameters if flow == name else {}
            if way == "metaflow":
                run = run_by_metaflow(flow, folder, root, given, python)
            else:
                words = [flow, "--in", way, "--python", str(python), *options(given)]
                record = run_by_mfbuild(mfbuild, folder, root, *words)
                run = record["run"]
        runs.append(run)
    return seen(record["flow"], runs, root)


def run_by_mfbuild(mfbuild: Runner, folder: Path, root: Path, *words: str) -> dict[str, str]:
    """The record of a run that was started in the workspace, and has said how it ended."""
    records = folder / ".mfbuild/runs"
    before = set(records.glob("*"))
    done = mfbuild("run", *words, "--max-workers", "1", cwd=folder, **environment(root))
    (made,) = set(records.glob("*")) - before
    record: dict[str, str] = json.loads((made / "run.json").read_text())
    assert (done.code, record["phase"]) in {(0, "succeeded"), (1, "failed")}, done.err
    return record
