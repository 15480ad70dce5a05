"""Podman with images and containers of its own, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def podman() -> Iterator[dict[str, str]]:
    """The variables that give Podman a storage of its own. Skips where the tests are not root."""
    assert shutil.which("podman"), "podman is not installed (Debian's podman has it)"
    if os.geteuid() != 0:
        pytest.skip("Podman is run by root here")
    # Below pytest's own folders its sockets' paths would be too long.
    folder = Path(tempfile.mkdtemp(prefix="mfbuild-"))
    storage, settings = folder / "storage.conf", folder / "containers.conf"
    # As root Podman raises these limits, which root may not do in every container.
    settings.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        f'[engine]\ntmp_dir = "{folder}/tmp"\nevents_logger = "none"\n'
    )
    env = {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(settings)}

    def run(*words: str) -> bool:
        done = subprocess.run(["podman", *words], env={**os.environ, **env}, capture_output=True)
        return done.returncode == 0

    # There is no overlay over another, as the machine's own files may be; vfs copies each layer.
    for driver in ("overlay", "vfs"):
        where = f'graphroot = "{folder}/{driver}"\nrunroot = "{folder}/run"'
        storage.write_text(f'[storage]\ndriver = "{driver}"\n{where}\n')
        if run("info"):
            break
    try:
        yield env
    finally:
        assert run("rmi", "--all", "--force")
        shutil.rmtree(folder)
