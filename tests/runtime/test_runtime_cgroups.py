"""What a container may use, from trees of cgroups as kernels and container engines lay them out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.runtime.cgroups import Limits, limits, oom_kills
from mfbuild.runtime.environment import s3_workers

_NO_LIMIT = "9223372036854771712\n"  # what version 1 says
GIB = 1 << 30


def tree(root: Path, membership: str, files: Mapping[str, str]) -> Path:
    """A machine's proc and sys, `files` being below /sys/fs/cgroup."""
    own = {"proc/self/cgroup": membership}
    for name, text in {**own, **{f"sys/fs/cgroup/{n}": t for n, t in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_pod_of_version_2_sees_its_own_cgroup_as_the_root(tmp_path: Path) -> None:
    files = {
        "memory.max": f"{GIB}\n",
        "cpu.max": "50000 100000\n",
        "memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n",
    }
    root = tree(tmp_path, "0::/\n", files)
    assert (limits(root), oom_kills(root)) == (Limits(GIB, 0.5), 2)


@pytest.mark.parametrize("path", ["/", "/kubepods.slice/pod1/cri.scope", "/../../elsewhere"])
def test_a_path_that_is_not_to_be_seen_is_the_mounts_root(path: str, tmp_path: Path) -> None:
    root = tree(tmp_path, f"0::{path}\n", {"memory.max": "5\n", "cpu.max": "max 100000\n"})
    assert limits(root) == Limits(5, None)


def test_version_1_has_a_tree_for_each_controller(tmp_path: Path) -> None:
    membership = "5:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n0::/\n"
    files = {
        "memory/docker/1/memory.limit_in_bytes": f"{2 * GIB}\n",
        "memory/docker/1/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        "memory/memory.limit_in_bytes": _NO_LIMIT,
        "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
        "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "150000\n",
        "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    root = tree(tmp_path, membership, files)
    assert (limits(root), oom_kills(root)) == (Limits(2 * GIB, 1.5), 3)


def test_no_limit_is_none(tmp_path: Path) -> None:
    assert limits(tree(tmp_path / "2", "0::/a\n", {"a/memory.max": "max\n"})) == Limits()
    v1 = {"memory/memory.limit_in_bytes": _NO_LIMIT, "cpu/cpu.cfs_quota_us": "-1\n"}
    assert limits(tree(tmp_path / "1", "2:memory:/\n1:cpu:/\n", v1)) == Limits()


def test_a_machine_without_cgroups_limits_nothing(tmp_path: Path) -> None:
    assert (limits(tmp_path), oom_kills(tmp_path)) == (Limits(), 0)
    assert limits(tree(tmp_path, "0::/a\n", {})) == Limits()


levels = st.lists(st.none() | st.integers(1, 1 << 45), min_size=1, max_size=5)


@given(memory=levels, v1=st.booleans(), outside=st.booleans())
def test_the_least_limit_of_a_cgroup_and_of_all_above_it_holds(
    memory: list[int | None], v1: bool, outside: bool
) -> None:
    """`outside`: the path is one from a namespace below it."""
    parts = [f"l{n}" for n in range(1, len(memory))]
    name, no_limit = ("memory.limit_in_bytes", _NO_LIMIT) if v1 else ("memory.max", "max\n")
    top = "memory/" if v1 else ""
    files = {
        top + "/".join([*parts[:depth], name]): no_limit if amount is None else f"{amount}\n"
        for depth, amount in enumerate(memory)
    }
    path = "/".join(["..", *parts] if outside else parts)
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder), f"{4 if v1 else 0}:{'memory' if v1 else ''}:/{path}\n", files)
        told = [amount for amount in memory if amount is not None]
        assert limits(root).memory == min(told, default=None)


@pytest.mark.parametrize(
    ("memory", "cpus", "workers"),
    [
        (None, None, None),
        (GIB, None, 4),
        (4 * GIB, 1.0, 4),
        (16 * GIB, 4.0, 16),
        (500 << 20, 0.5, 1),
        (1 << 20, 16.0, 1),
        (None, 0.1, 1),
        (1 << 45, 96.0, 64),
    ],
)
def test_metaflows_s3_workers(memory: int | None, cpus: float | None, workers: int | None) -> None:
    assert s3_workers(Limits(memory, cpus)) == workers


@given(st.integers(1, 1 << 45), st.floats(0.001, 512))
def test_s3_workers_leave_a_step_its_memory(memory: int, cpus: float) -> None:
    found = s3_workers(Limits(memory, cpus))
    assert found is not None
    assert 1 <= found <= 64
    assert found == 1 or found * (32 << 20) <= memory / 8
