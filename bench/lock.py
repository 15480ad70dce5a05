"""How long locking metaflow, pandas and scikit-learn takes, against uv with nothing around it."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import uv

from mfbuild.oci.types import Platform
from mfbuild.python.index import IndexSettings, read_settings
from mfbuild.python.lockfile import write_lock
from mfbuild.python.model import Request
from mfbuild.python.resolve import resolve
from mfbuild.python.urls import UrlCache

BASE = ("metaflow",)
STEP = ("pandas", "scikit-learn")
PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm64"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--python", default="3.11", help="Python of the image (default: 3.11)")
    parser.add_argument("--limit", type=float, default=120, help="seconds for a run of plain uv")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = read_settings(home, {**os.environ, "UV_CACHE_DIR": str(home / "uv")})
        ways: Mapping[str, Callable[[], None]] = {
            "mfbuild lock, 2 platforms": lambda: lock(home, settings, options.python),
            "uv pip compile, wheels only": lambda: plain(settings, options, "--only-binary=:all:"),
            "uv pip compile": lambda: plain(settings, options),
        }
        report(ways, options.rounds)


def lock(home: Path, settings: IndexSettings, python: str) -> None:
    """A first lock of one step for both platforms, written to a file."""
    request = Request(python, "2.36", BASE, STEP)
    cache = UrlCache(home / "urls.json")
    found = resolve({request: "step"}, PLATFORMS, settings=settings, cache=cache)
    write_lock(home / "BUILD.lock", found)


def plain(settings: IndexSettings, options: argparse.Namespace, *flags: str) -> None:
    """The same requirements for one platform, as a person would ask uv."""
    command = [uv.find_uv_bin(), "pip", "compile", "-", "--quiet", "--generate-hashes", *flags]
    command += ["--python", sys.executable, "--python-version", options.python]
    command += ["--python-platform", "x86_64-manylinux_2_36"]
    subprocess.run(
        command,
        input="\n".join((*BASE, *STEP)).encode(),
        env=dict(settings.environ),
        stdout=subprocess.DEVNULL,
        timeout=options.limit,
        check=True,
    )


def report(ways: Mapping[str, Callable[[], None]], rounds: int) -> None:
    """Time every way once cold and `rounds` times warm, in turns, and print a table."""
    print("| | first run, s | min, s | median, s |\n|---|---|---|---|")
    for name, way in ways.items():
        try:
            first, *warm = [seconds(way) for _ in range(rounds + 1)]
            figures = [first, min(warm), statistics.median(warm)]
            shown = " | ".join(f"{figure:.2f}" for figure in figures)
        except subprocess.TimeoutExpired as expired:
            shown = " | ".join([f"> {expired.timeout:.0f}"] * 3)
        print(f"| {name} | {shown} |", flush=True)


def seconds(way: Callable[[], None]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
