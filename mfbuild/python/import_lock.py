"""Locks of other tools (PEX, pylock.toml, hashed requirements.txt) in place of resolving."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.errors import Problem, ResolveError
from mfbuild.files import words_of
from mfbuild.oci.types import Platform
from mfbuild.python.index import IndexSettings, redact
from mfbuild.python.model import Lock, Request
from mfbuild.python.pylock import Artifact, read_pylock
from mfbuild.python.resolve import Solution, Task, complete, run_all, solve
from mfbuild.python.tags import markers, wheel_tags
from mfbuild.python.urls import UrlCache

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a brought lock: its version and the sha256 of the files that it allows."""

    version: str
    sha256: frozenset[str]


def imported_lock(
    path: Path,
    requests: Mapping[Request, str],
    platforms: Sequence[Platform],
    *,
    settings: IndexSettings,
    cache: UrlCache,
) -> Lock:
    """The lock that answers `requests` with the versions and files of the lock at `path`.

    Each environment gets only what it needs of it. Addresses in the file are not used: the
    configured indexes tell sizes and addresses, its hashes say which files are right.
    ResolveError with everything that it lacks, for every environment.
    """
    text = _read(path)
    targets = dict.fromkeys((_target(request), p) for request in requests for p in platforms)
    pins = run_all(targets, lambda t: _pins(path, text, *t, settings), lambda t: (str(path), t[1]))

    def choose(task: Task) -> list[Artifact]:
        held = pins[_target(task[0]), task[1]]
        versions = {name: pin.version for name, pin in held.items()}
        found = solve(*task, settings, constraints=versions)
        return _allowed(path, task[1], found, held)

    tasks = [(request, platform) for request in requests for platform in platforms]
    chosen = run_all(tasks, choose, lambda task: (requests[task[0]], task[1]))
    return complete(chosen, requests, settings=settings, cache=cache, built={})


def parse_requirements(
    text: str, request: Request, platform: Platform, where: str
) -> dict[str, Pin]:
    """The pins of a hashed requirements.txt that hold for the image, by normalized name.

    Options (lines that begin with `-`) are passed over: the configured indexes are used.
    ResolveError with every other line that is not a pin with sha256 hashes.
    """
    from packaging.utils import canonicalize_name

    environment = {name: str(value) for name, value in markers(request.python, platform).items()}
    found: dict[str, Pin] = {}
    problems = []
    for number, line in _logical_lines(text):
        plain, *hashes = line.split("--hash=")
        sha256 = [h.strip().removeprefix("sha256:") for h in hashes if h.startswith("sha256:")]
        requirement = _pinned(plain.strip())
        if requirement is None or not sha256:
            message = f"`{redact(plain.strip())}` is not a pin (`name==version`) with sha256 hashes"
            problems.append(Problem(message, f"{where}:{number}"))
        elif requirement.marker is None or requirement.marker.evaluate(environment):
            version = next(iter(requirement.specifier)).version
            found[canonicalize_name(requirement.name)] = Pin(version, frozenset(sha256))
    ResolveError.raise_for(problems)
    return found


def _pinned(text: str) -> Requirement | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    specifiers = list(requirement.specifier)
    exact = len(specifiers) == 1 and specifiers[0].operator in ("==", "===")
    return requirement if exact and not specifiers[0].version.endswith(".*") else None


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Requirements with the line that they begin on; comments, blanks and options left out."""
    lines = [re.sub(r"(^|\s)#.*", "", line).rstrip() for line in text.splitlines()]
    number = 0
    while number < len(lines):
        first, joined = number + 1, lines[number]
        while joined.endswith("\\") and number + 1 < len(lines):
            number += 1
            joined = joined[:-1].rstrip() + " " + lines[number].strip()
        number += 1
        if joined.strip() and not joined.startswith("-"):
            yield first, joined.strip()


def _pins(
    path: Path, text: str, request: Request, platform: Platform, settings: IndexSettings
) -> dict[str, Pin]:
    if path.suffix != ".toml" and not text.lstrip().startswith(("{", "//")):
        return parse_requirements(text, request, platform, str(path))
    if path.suffix != ".toml":
        text = _export_pex(path, request, platform, settings)
    packages = read_pylock(text, request, platform, str(path))
    return {
        name: Pin(files[0].version, frozenset(file.sha256 for file in files))
        for name, files in packages.items()
        if files
    }


def _export_pex(path: Path, request: Request, platform: Platform, settings: IndexSettings) -> str:
    """A PEX lock as pylock.toml, by pex itself: its format is its own."""
    if importlib.util.find_spec("pex") is None:
        hint = "install `mfbuild[pex]`"
        raise ResolveError(
            "a PEX lock is read by pex, which is not installed", where=str(path), hint=hint
        )
    tags = [str(tag) for tag in wheel_tags(request.python, request.glibc, platform)]
    target = {
        "marker_environment": markers(request.python, platform),
        "compatible_tags": tags,
    }
    with tempfile.TemporaryDirectory(prefix="mfbuild-pex-") as folder:
        description, output = Path(folder, "platform.json"), Path(folder, "pylock.toml")
        description.write_text(json.dumps(target), encoding="utf-8")
        command = [sys.executable, "-m", "pex.cli", "lock", "export", "--format", "pep-751"]
        command += ["--complete-platform", str(description), "--output", str(output)]
        # In that folder: `python -m` takes a module of the working one before an installed one.
        done = subprocess.run(
            [*command, str(path.absolute())],
            cwd=folder,
            capture_output=True,
            env=dict(settings.environ),
            check=False,
        )
        if done.returncode:
            reason = " ".join(redact(done.stderr.decode(errors="replace")).split())
            raise ResolveError(f"pex cannot read this lock: {reason}", where=str(path))
        return output.read_text(encoding="utf-8")


def _allowed(
    path: Path, platform: Platform, found: Solution, held: Mapping[str, Pin]
) -> list[Artifact]:
    """Of each package the best file that the brought lock allows."""
    chosen, problems = [], []
    for name, files in found.items():
        pin = held.get(name)
        allowed = [file for file in files if pin and file.sha256 in pin.sha256]
        if allowed:
            chosen.append(allowed[0])
        elif pin is None:
            problems.append(Problem(f"`{name}` is needed, and `{path.name}` does not hold it"))
        else:
            message = f"`{path.name}` allows no file of `{name}` {pin.version} for {platform}"
            problems.append(Problem(message))
    ResolveError.raise_for(problems)
    return chosen


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResolveError(
            f"this lock cannot be read: {words_of(error)}", where=str(path)
        ) from error


def _target(request: Request) -> Request:
    """What of a request decides which files fit."""
    return replace(request, base=(), requirements=(), without=())
