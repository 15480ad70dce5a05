"""The programs of the engine: which there are, and what is said where one is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.build import MODULES, SEARCH, SOURCES

ROOT = Path(__file__).parents[2]


def test_every_module_is_built() -> None:
    assert {path.parent.name for path in SOURCES.glob("*/go.mod")} == set(MODULES)


def test_go_code_is_formatted() -> None:
    try:
        done = subprocess.run(
            ["gofmt", "-l", SOURCES], env={"PATH": SEARCH}, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("gofmt is not installed (it comes with Go)")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("go", ["", "echo go version go1.19.8 linux/amd64", "exit 1"])
def test_what_is_missing_is_said(tmp_path: Path, go: str) -> None:
    """Also where there is a Go that is too old, or that cannot fetch a newer one."""
    if go:
        (tmp_path / "go").write_text(f"#!/bin/sh\n{go}\n")
        (tmp_path / "go").chmod(0o755)
    code = f"""
from tests.cluster import build
build.SEARCH = {str(tmp_path)!r}
build.main()
print(build.missing())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "MFBUILD_TEST_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "NOT BUILT: Go" in done.stderr
    assert "NOT RUN: the tests on the engine" in done.stderr
    assert "NOT RUN: the tests of Azure's storage, for want of npm" in done.stderr
    for lack in ("etcd (Debian's etcd-server)", "containerd", "kubelet (not built)"):
        assert lack in done.stderr and lack in done.stdout
