"""Layers of numpy + pandas + scikit-learn: CPU against `tar | gzip -6`, and the peak of memory.

The wheels are downloaded before the clock starts; both sides are whole processes, and their CPU is
that of all their children. The memory is that of a process that bakes a wheel of 200 MB.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from timing import table

PACKAGES = ["numpy==2.2.6", "pandas==2.2.3", "scikit-learn==1.6.1"]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mfbuild-bench"
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="rounds after one warm-up")
    parser.add_argument("--wheels", type=Path, default=CACHE / "wheels", help="where wheels are")
    parser.add_argument("--bake", nargs="+", type=Path, metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--synthesize", type=Path, metavar="PATH", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bake:
        bake(options.bake[0], options.bake[1:])
    elif options.synthesize:
        synthesize(options.synthesize)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(downloaded(options.wheels), options.runs, Path(folder))


def report(wheels: Sequence[Path], runs: int, folder: Path) -> None:
    """Measure and print both tables."""
    root = folder / "root"
    root.mkdir()
    used(own("--bake", folder, *wheels))
    for layer in folder.glob("*.layer"):
        subprocess.run(["tar", "-xzf", layer, "-C", root], check=True)
    packing = ["sh", "-c", 'tar -C "$0" -cf - . | gzip -6 > "$1"', str(root), f"{folder}/gz"]
    rounds = [(used(own("--bake", folder, *wheels)), used(packing)) for _ in range(runs)]
    ours, theirs = ([one[i].cpu for one in rounds] for i in (0, 1))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    sizes = sum(layer.stat().st_size for layer in folder.glob("*.layer"))
    rows = [
        ["mfbuild", *figures(ours), f"{sizes / 1e6:.1f}"],
        ["tar, gzip -6", *figures(theirs), f"{(folder / 'gz').stat().st_size / 1e6:.1f}"],
        ["ratio (bar 0.15)", *figures(ratios), ""],
    ]
    print(table(rows, ["CPU seconds", "minimum", "median", "MB"]))
    big = folder / "big-1.0-py3-none-any.whl"
    used(own("--synthesize", big))
    peaks = [used(own("--bake", folder, big)).peak / MIB for _ in range(runs)]
    row = [f"a wheel of {big.stat().st_size / 1e6:.0f} MB", *figures(peaks)]
    print()
    print(table([row], ["peak memory in MiB (bar 150)", "minimum", "median"]))


def figures(values: Sequence[float]) -> tuple[str, str]:
    return f"{min(values):.3f}", f"{statistics.median(values):.3f}"


@dataclass(frozen=True)
class Used:
    """What a process and its children used: CPU seconds, and the peak of memory in bytes."""

    cpu: float
    peak: int


def used(command: Sequence[str]) -> Used:
    """Run a command to its end."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"`{' '.join(command[:3])}` ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def own(mode: str, *paths: Path) -> list[str]:
    """This script in a process of its own."""
    return [sys.executable, __file__, mode, *map(str, paths)]


def downloaded(folder: Path, packages: Sequence[str] = PACKAGES) -> list[Path]:
    """The wheels, which the first run downloads."""
    if not list(folder.glob("*.whl")):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", folder, *packages], check=True)
    return sorted(folder.glob("*.whl"))


def bake(folder: Path, wheels: Sequence[Path]) -> None:
    """One layer for each wheel."""
    from mfbuild.engine.model import Blob, Digest, Work
    from mfbuild.python import layer

    @dataclass(frozen=True)
    class Input:
        file: Path

        @property
        def blob(self) -> Blob:
            return Blob(Digest("0" * 64), self.file.stat().st_size)

        def path(self) -> Path:
            return self.file

        def chunks(self) -> Iterator[bytes]:
            yield self.read()

        def read(self) -> bytes:
            return self.file.read_bytes()

    for wheel in wheels:
        name = wheel.name
        outputs = {key: folder / f"{name}.{key}" for key in ("info", "layer", "paths", "requires")}
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
        params = {"python": minor, "prefix": "opt/venv", "wheels": [name], "comment": name}
        inputs = {name: Input(wheel)}
        layer.run(Work(params, inputs, outputs, scratch=folder, tick=lambda _: None))


def synthesize(wheel: Path) -> None:
    """A wheel of 200 MB: one large member that does not compress, one that does, and many files."""
    source = random.Random(0)
    info = "big-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("big/random.so", "w", force_zip64=True) as member:
            for _ in range(170):
                member.write(source.randbytes(MIB))
        with archive.open("big/zeros.bin", "w") as member:
            for _ in range(400):
                member.write(b"spam, eggs and bytes\0" * 50_000)
        for number in range(3000):
            archive.writestr(f"big/module_{number}.py", source.randbytes(4000).hex())
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: big\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{info}/RECORD", "")


if __name__ == "__main__":
    main()
