"""Loading into Docker: what happens where there is none. The real one is in tests/bundle."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from mfbuild.errors import ActionError, UsageError
from mfbuild.oci import daemon


# docker's own client leaves the socket open with which it failed to connect.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*socket")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_daemon_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(ActionError) as caught:
        daemon.load([])
    [problem] = caught.value.problems
    assert problem.message == "the Docker daemon cannot be reached"
    assert problem.hint == "start it, or set DOCKER_HOST to where it listens"
    del caught
    gc.collect()


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense://:x")
    with pytest.raises(ActionError, match="the Docker daemon cannot be reached"):
        daemon.load([])


def test_the_docker_package_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(UsageError) as caught:
        daemon.load([])
    [problem] = caught.value.problems
    assert problem.message == "loading images needs the `docker` package"
    assert problem.hint == "install mfbuild with its extra `docker`: `mfbuild[docker]`"
