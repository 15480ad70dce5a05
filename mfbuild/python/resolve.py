"""Requests in, a lock out: every wheel of every environment by name, version, size and sha256."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mfbuild.engine.model import Digest
from mfbuild.errors import MfbuildError, Problem, ResolveError
from mfbuild.oci.types import Platform
from mfbuild.python.download import Downloader
from mfbuild.python.index import IndexSettings, redact
from mfbuild.python.lockfile import check_wheel, shared_hashes
from mfbuild.python.model import Lock, LockedEnvironment, LockedWheel, Request
from mfbuild.python.pylock import Artifact
from mfbuild.python.sdist import build_wheel
from mfbuild.python.urls import UrlCache
from mfbuild.python.uv import UvFailure, compile_pins

WORKERS = 4
_ELSEWHERE = "is not from an index: not supported, only packages of an index can be locked"
Task = tuple[Request, Platform]
Solution = Mapping[str, tuple[Artifact, ...]]
_K = TypeVar("_K")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Which pins may move although they still satisfy what is asked: all, or some packages."""

    everything: bool = False
    packages: frozenset[str] = frozenset()

    def moves(self, name: str) -> bool:
        """Whether the pin of the package may move."""
        return self.everything or name in self.packages

    def flags(self) -> list[str]:
        """What makes uv look at the indexes again rather than in its cache."""
        if self.everything:
            return ["--refresh"]
        return [word for name in sorted(self.packages) for word in ("--refresh-package", name)]


def resolve(
    requests: Mapping[Request, str],
    platforms: Sequence[Platform],
    *,
    settings: IndexSettings,
    cache: UrlCache,
    previous: Lock | None = None,
    upgrade: Upgrade | None = None,
) -> Lock:
    """The lock that answers exactly `requests`, which map to what errors call them (their steps).

    What `previous` answers stays as it is, and its other pins are preferred, unless `upgrade`
    moves them. The base of each request is solved first, and preferred: environments share its
    wheels, and the solver does not search through years of releases for it. ResolveError with
    the resolver's reason for every environment that cannot be solved.
    """
    from packaging.utils import canonicalize_name

    previous, upgrade = previous or Lock({}), upgrade or Upgrade()
    upgrade = replace(upgrade, packages=frozenset(map(canonicalize_name, upgrade.packages)))
    kept = {r: e for r in requests if (e := _kept(previous, r, platforms, upgrade))}
    tasks = [(r, p) for r in requests if r not in kept for p in platforms]
    pins = _pins(previous, upgrade)
    flags = upgrade.flags()

    def named(task: Task) -> tuple[str, Platform]:
        same = [label for r, label in requests.items() if _base(r) == _base(task[0])]
        return requests.get(task[0]) or ", ".join(same), task[1]

    bases = run_all(
        dict.fromkeys((_base(request), platform) for request, platform in tasks),
        lambda task: solve(*task, settings, preferences=pins, flags=flags),
        named,
    )

    def solve_one(task: Task) -> Solution:
        base = bases[_base(task[0]), task[1]]
        if not task[0].requirements:
            return base
        own = _pins(_only(previous, task[0]), upgrade)
        preferences = {**pins, **_versions(base), **own}
        return solve(*task, settings, preferences=preferences, flags=flags)

    solved = run_all(tasks, solve_one, named)
    chosen = {task: [files[0] for files in found.values()] for task, found in solved.items()}
    fixed = [w for w in previous.wheels() if not upgrade.moves(w.name)]
    built = {w.sdist_sha256: w for w in fixed if w.sdist_sha256}
    lock = complete(chosen, requests, settings=settings, cache=cache, built=built)
    lock = Lock({**{r.digest(): e for r, e in kept.items()}, **lock.environments})
    _check(lock, fixed, upgrade)
    return lock


def solve(
    request: Request,
    platform: Platform,
    settings: IndexSettings,
    *,
    preferences: Mapping[str, str] | None = None,
    constraints: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
) -> Solution:
    """Every package of the environment with its files that fit, best first; see `compile_pins`.

    Wheels only; where a package has none, its sdist. ResolveError with the resolver's reason.
    """
    _check_requirements(request)
    sources: frozenset[str] = frozenset()
    while True:
        try:
            found = compile_pins(
                [*request.base, *request.requirements],
                request,
                platform,
                settings,
                preferences=preferences,
                constraints=constraints,
                sources=sources,
                flags=flags,
            )
            break
        except UvFailure as failure:
            if failure.sdist_only <= sources:
                message = (
                    f"packages cannot be resolved for Python {request.python}: {failure.reason}"
                )
                raise ResolveError(message, hint=_hint(failure, platform)) from failure
            sources |= failure.sdist_only
    direct = [Problem(f"`{name}` {_ELSEWHERE}") for name, files in found.items() if not files]
    ResolveError.raise_for(direct)
    return found


def _hint(failure: UvFailure, platform: Platform) -> str | None:
    """What uv advises, and what to do where a package is for another platform alone."""
    if "matching platform" not in f"{failure.reason} {failure.hint}":
        return failure.hint
    ours = (
        f"to leave `{platform}` out, name the platforms you want: `--platform linux/amd64`, "
        "or `platforms` in BUILD.toml"
    )
    return f"{failure.hint}; {ours}" if failure.hint else ours


def _check_requirements(request: Request) -> None:
    """uv would also take options and files from the lines that it gets."""
    from packaging.requirements import InvalidRequirement, Requirement

    problems = []
    for text in (*request.base, *request.requirements):
        try:
            if Requirement(text).url:
                problems.append(Problem(f"`{redact(text)}` {_ELSEWHERE}"))
        except InvalidRequirement as error:
            reason = str(error).partition("\n")[0]
            problems.append(Problem(f"`{redact(text)}` is not a requirement: {reason}"))
    ResolveError.raise_for(problems)


def complete(
    chosen: Mapping[Task, Sequence[Artifact]],
    requests: Mapping[Request, str],
    *,
    settings: IndexSettings,
    cache: UrlCache,
    built: Mapping[str, LockedWheel],
) -> Lock:
    """The lock of the chosen files: sizes that no index told are found, sdists are built.

    `built` are wheels by the sha256 of an sdist that is not to be built again.
    """
    downloader = Downloader(settings)
    users: dict[Artifact, list[Task]] = {}
    for task, files in chosen.items():
        for file in files:
            users.setdefault(file, []).append(task)
    _check_hashes(users, built)
    locked = run_all(
        users,
        lambda file: built.get(file.sha256) or _locked(file, downloader),
        lambda file: (", ".join(dict.fromkeys(requests[r] for r, _ in users[file])), None),
    )
    cache.add({file.sha256: file.url for file in users if file.url})
    wheels: dict[Request, dict[Platform, tuple[LockedWheel, ...]]] = {}
    for (request, platform), files in chosen.items():
        found = sorted({locked[file] for file in files}, key=lambda w: w.filename)
        wheels.setdefault(request, {})[platform] = tuple(found)
    return Lock({r.digest(): LockedEnvironment(r, found) for r, found in wheels.items()})


def _check_hashes(files: Collection[Artifact], built: Mapping[str, LockedWheel]) -> None:
    """One name has one hash, and one hash one name: what an index tells is not taken on trust."""
    seen = [(file.filename, file.sha256) for file in files]
    sources = [(w.sdist, w.sdist_sha256) for w in built.values() if w.sdist and w.sdist_sha256]
    problems = shared_hashes([*seen, *sources])
    names = [name for name, _ in set(seen)]
    problems += [
        Problem(
            f"`{name}` has two different sha256",
            hint="two package indexes, or two pages of one, disagree about it",
        )
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    ResolveError.raise_for(problems)


def run_all(
    keys: Iterable[_K],
    work: Callable[[_K], _R],
    where: Callable[[_K], tuple[str, Platform | None]],
) -> dict[_K, _R]:
    """`work` of every key, some at a time; ResolveError with all that went wrong.

    `where` says whom a key concerns; the same problem on several platforms is told once.
    """
    results: dict[_K, _R] = {}
    failed: dict[tuple[str, str, str | None], list[Platform | None]] = {}
    concerned = {key: where(key) for key in keys}
    pool = ThreadPoolExecutor(WORKERS)
    try:
        futures = {key: pool.submit(work, key) for key in concerned}
        for key, (label, platform) in concerned.items():
            try:
                results[key] = futures[key].result()
            except MfbuildError as error:
                for problem in error.problems:
                    same = (problem.message, problem.where or label, problem.hint)
                    failed.setdefault(same, []).append(platform)
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        everywhere = {platform for _, platform in concerned.values()}
        raise ResolveError.all_of(
            [
                Problem(message, label + _platforms(platforms, everywhere), hint)
                for (message, label, hint), platforms in failed.items()
            ]
        )
    return results


def _platforms(some: Iterable[Platform | None], everywhere: Collection[Platform | None]) -> str:
    names = sorted({str(platform) for platform in some})
    return f" ({', '.join(names)})" if len(names) < len(everywhere) else ""


def _locked(file: Artifact, downloader: Downloader) -> LockedWheel:
    if file.url is None:
        raise ResolveError(f"`{file.filename}` has no address")
    with tempfile.TemporaryDirectory(prefix="mfbuild-lock-") as folder:
        lock = _wheel if file.is_wheel else _built
        try:
            return check_wheel(lock(file, file.url, downloader, Path(folder)))
        except ValueError as error:
            raise ResolveError(f"`{file.name}` cannot be locked: {error}") from error


def _wheel(file: Artifact, url: str, downloader: Downloader, folder: Path) -> LockedWheel:
    size = file.size if file.size is not None else downloader.size(url)
    if size is None:
        size = downloader.fetch(url, folder / "wheel", sha256=file.sha256)
    return LockedWheel(file.filename, file.name, file.version, size, file.sha256)


def _built(file: Artifact, url: str, downloader: Downloader, folder: Path) -> LockedWheel:
    sdist = folder / Path(file.filename).name
    downloader.fetch(url, sdist, sha256=file.sha256, size=file.size)
    wheel = build_wheel(sdist, downloader.settings, folder)
    data = wheel.read_bytes()
    return LockedWheel(
        filename=wheel.name,
        name=file.name,
        version=file.version,
        size=len(data),
        sha256=Digest.of(data).hex,
        sdist=file.filename,
        sdist_sha256=file.sha256,
    )


def _kept(
    previous: Lock, request: Request, platforms: Sequence[Platform], upgrade: Upgrade
) -> LockedEnvironment | None:
    found = previous.environments.get(request.digest())
    if found is None or upgrade.everything or any(p not in found.wheels for p in platforms):
        return None
    wheels = {p: found.wheels[p] for p in platforms}
    moved = any(upgrade.moves(w.name) for ws in wheels.values() for w in ws)
    return None if moved else LockedEnvironment(request, wheels)


def _check(lock: Lock, fixed: Sequence[LockedWheel], upgrade: Upgrade) -> None:
    """An upgrade must name packages that there are; a file of the same name must be the same."""
    missing = upgrade.packages - {wheel.name for wheel in lock.wheels()}
    problems = [Problem(f"no environment has the package `{n}`") for n in sorted(missing)]
    known = {wheel.filename: wheel for wheel in fixed}
    for wheel in sorted(set(lock.wheels())):
        if known.get(wheel.filename, wheel) != wheel:
            message = f"`{wheel.filename}` is not the file that is locked: an index replaced it"
            hint = f"if that is right, `mfbuild lock --upgrade {wheel.name}` takes it"
            problems.append(Problem(message, hint=hint))
    ResolveError.raise_for(problems)


def _only(lock: Lock, request: Request) -> Lock:
    digest = request.digest()
    return Lock({d: e for d, e in lock.environments.items() if d == digest})


def _base(request: Request) -> Request:
    return replace(request, requirements=())


def _pins(lock: Lock, upgrade: Upgrade) -> dict[str, str]:
    """The highest locked version of each package that is not to be upgraded."""
    from packaging.version import Version

    found: dict[str, str] = {}
    for wheel in lock.wheels():
        known = found.setdefault(wheel.name, wheel.version)
        if Version(wheel.version) > Version(known):
            found[wheel.name] = wheel.version
    return {name: version for name, version in found.items() if not upgrade.moves(name)}


def _versions(solution: Solution) -> dict[str, str]:
    return {name: files[0].version for name, files in solution.items()}
