"""A containerd of its own for tests, with its files in a temporary folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import daemon, succeeds


@contextmanager
def containerd() -> Iterator[tuple[str, ...]]:
    """Run containerd; the `ctr` command that speaks to it. Skips where the tests are not root."""
    program = shutil.which("containerd")
    assert program, "containerd is not installed (Debian's package of that name has it)"
    if os.geteuid() != 0:
        pytest.skip("containerd can be started by root only")
    # A socket's path has at most 107 characters, too few for pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="mfbuild-"))
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
    )
    command = [program, "--config", str(config), "--address", f"{folder}/s"]
    ctr = ("ctr", "--address", f"{folder}/s")
    try:
        with daemon(command, folder / "log", lambda: succeeds([*ctr, "version"])):
            yield ctr
    finally:
        shutil.rmtree(folder)
