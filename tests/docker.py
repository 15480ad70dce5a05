"""A Docker daemon of its own for tests, with its files in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import daemon, succeeds


@contextmanager
def docker_daemon() -> Iterator[str]:
    """Run dockerd without a network; its DOCKER_HOST. Skips where the tests are not root."""
    program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, "dockerd is not installed (Debian's docker.io has it)"
    if os.geteuid() != 0:
        pytest.skip("dockerd can be started by root only")
    # A socket's path has at most 107 characters, too few for pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="mfbuild-"))
    host = f"unix://{folder}/s"
    options = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"-p={folder}/pid"]
    options += ["-H", host, "--iptables=false", "--bridge=none"]
    try:
        info = ["docker", "-H", host, "info"]
        with daemon([program, *options], folder / "log", lambda: succeeds(info)):
            yield host
    finally:
        # What a container on the host's network leaves mounted.
        subprocess.run(["umount", f"{folder}/exec/netns/default"], capture_output=True)
        shutil.rmtree(folder)
