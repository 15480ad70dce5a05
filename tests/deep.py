"""Folders as deep as paths can be long."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEPTH = 1500


@contextmanager
def deep_file(root: Path, name: str) -> Iterator[str]:
    """A file of that name, 1,500 folders below `root`, until the block ends; its path from there.

    It is taken away again since `shutil.rmtree`, which pytest uses, recurses before Python 3.13.
    """
    here = Path.cwd()
    try:
        os.chdir(root)
        for _ in range(DEPTH):
            Path("d").mkdir()
            os.chdir("d")
        Path(name).touch()
        os.chdir(here)
        yield "d/" * DEPTH + name
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", root / "d"], check=True)
