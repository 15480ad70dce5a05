"""uv, the resolver: one run of it for one environment and one platform."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mfbuild.errors import ResolveError
from mfbuild.files import words_of
from mfbuild.oci.types import Platform
from mfbuild.python.index import IndexSettings, redact
from mfbuild.python.model import Request
from mfbuild.python.pylock import Artifact, read_pylock
from mfbuild.python.tags import uv_platform

_NEEDS_WHEEL = re.compile(r"hint: Wheels are required for `([^`]+)`.*")
_UNSOLVED = re.compile(
    r"^(error: )?(No solution found when resolving dependencies:? )?(cause: )?(?=.)"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# What frames the messages of older versions.
_DRAWING = str.maketrans(dict.fromkeys("\u00d7\u2570\u2500\u25b6\u251c\u2502", " "))

_FINDING = threading.Lock()


class UvFailure(Exception):
    """uv ended with an error: `reason` and `hint` in its words, on one line, without credentials.

    `sdist_only` are the packages that have no wheel for the platform and were to have one.
    """

    def __init__(self, output: str) -> None:
        clean = redact(_ANSI.sub("", output)).translate(_DRAWING)
        self.sdist_only = frozenset(_NEEDS_WHEEL.findall(clean))
        reason, *hints = re.split(r"^\s*hint: ", _NEEDS_WHEEL.sub("", clean), flags=re.MULTILINE)
        reason = _UNSOLVED.sub("", " ".join(reason.split()))
        reason = reason.replace("Because ", "because ", 1).rstrip(".")
        self.reason = reason or "uv ended without a reason; is the disk full?"
        self.hint = "; ".join(" ".join(hint.split()) for hint in hints) or None
        super().__init__(self.reason)


def run_uv(
    arguments: Sequence[str],
    settings: IndexSettings,
    *,
    stdin: str = "",
    environ: Mapping[str, str] | None = None,
) -> None:
    """Run uv in the workspace with what `settings` configure; UvFailure when it fails."""
    try:
        done = subprocess.run(
            [_uv(), *arguments, "--quiet", "--color", "never"],
            input=stdin.encode(),
            capture_output=True,
            cwd=settings.workspace,
            env={**settings.environ, **(environ or {})},
            check=False,
        )
    except OSError as error:
        raise ResolveError(f"uv cannot be run: {words_of(error)}", hint="install `uv`") from error
    if done.returncode:
        raise UvFailure(done.stderr.decode(errors="replace"))


def _uv() -> str:
    import uv

    # sysconfig, which uv asks, fills its variables lazily and without a lock.
    with _FINDING:
        return uv.find_uv_bin()


def compile_pins(
    requirements: Sequence[str],
    request: Request,
    platform: Platform,
    settings: IndexSettings,
    *,
    preferences: Mapping[str, str] | None = None,
    constraints: Mapping[str, str] | None = None,
    sources: Collection[str] = (),
    flags: Sequence[str] = (),
) -> dict[str, tuple[Artifact, ...]]:
    """Solve `requirements` for the Python, glibc and platform; see `read_pylock` for the result.

    Only wheels are considered, but for the packages `sources`, of which only sdists are.
    `preferences` are versions to stay at where possible, `constraints` those that must hold.
    The packages `request.without` are taken for present, with nothing that they need.
    """
    with tempfile.TemporaryDirectory(prefix="mfbuild-uv-") as folder:
        # uv prefers what an existing output file names.
        output = Path(folder, "pylock.toml")
        if preferences:
            output.write_text(_preferences(preferences), encoding="utf-8")
        arguments = ["pip", "compile", "-", "--output-file", str(output), "--no-header"]
        arguments += ["--format", "pylock.toml", "--only-binary", ":all:"]
        arguments += [word for name in sorted(sources) for word in ("--no-binary", name)]
        arguments += ["--python-version", request.python, "--python", sys.executable]
        arguments += ["--no-python-downloads"]
        arguments += ["--python-platform", uv_platform(request.glibc, platform)]
        if constraints:
            pins = [f"{name}=={version}" for name, version in sorted(constraints.items())]
            arguments += ["--constraints", _listed(folder, "constraints.txt", pins)]
        if request.without:
            arguments += ["--excludes", _listed(folder, "excludes.txt", request.without)]
        arguments += [*settings.flags, *flags]
        run_uv(arguments, settings, stdin="".join(f"{r}\n" for r in requirements))
        return read_pylock(output.read_text(encoding="utf-8"), request, platform)


def _preferences(pins: Mapping[str, str]) -> str:
    packages = (
        f"[[packages]]\nname = {json.dumps(name)}\nversion = {json.dumps(version)}\n"
        for name, version in sorted(pins.items())
    )
    return 'lock-version = "1.0"\ncreated-by = "mfbuild"\n' + "".join(packages)


def _listed(folder: str, name: str, lines: Sequence[str]) -> str:
    path = Path(folder, name)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)
