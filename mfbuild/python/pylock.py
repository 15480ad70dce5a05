"""PEP 751: the files that a pylock.toml offers an image, and a lock written as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mfbuild.errors import ResolveError
from mfbuild.oci.types import Platform
from mfbuild.python.model import Lock, LockedWheel, Request
from mfbuild.python.tags import machine, markers, wheel_tags

if TYPE_CHECKING:
    from packaging.pylock import Package, PackageSdist, PackageWheel


@dataclass(frozen=True, slots=True)
class Artifact:
    """A wheel or sdist as an index tells of it; `name` is normalized (PEP 503).

    `url` is None where the source of the information knows none.
    """

    name: str
    version: str
    filename: str
    url: str | None
    size: int | None
    sha256: str

    @property
    def is_wheel(self) -> bool:
        return self.filename.endswith(".whl")


def read_pylock(
    text: str, request: Request, platform: Platform, where: str | None = None
) -> dict[str, tuple[Artifact, ...]]:
    """For each package that `text` names for the image, the files that fit, best first.

    Wheels come in the order of their tags, then the highest build number (PEP 427), then the
    sdist. A package that is not from an index (archive, vcs, directory) has none.
    """
    import tomli
    from packaging.pylock import Pylock, PylockValidationError

    try:
        packages = Pylock.from_dict(tomli.loads(text)).packages
    except (ValueError, RecursionError, PylockValidationError) as error:
        raise ResolveError(f"not a pylock.toml (PEP 751): {error}", where=where) from error
    environment: dict[str, str | frozenset[str]] = {
        **{name: str(value) for name, value in markers(request.python, platform).items()},
        "extras": frozenset(),
        "dependency_groups": frozenset(),
    }
    found: dict[str, tuple[Artifact, ...]] = {}
    for package in packages:
        if package.marker and not package.marker.evaluate(environment, context="lock_file"):
            continue
        if package.name in found:
            message = f"`{package.name}` is named more than once for {platform}"
            raise ResolveError(message, where=where)
        found[package.name] = tuple(_fitting(package, request, platform))
    return found


def export_pylock(lock: Lock, request: Request, urls: Mapping[str, str]) -> str:
    """The environment of `request` as pylock.toml, for all its platforms.

    `urls` maps the sha256 of each wheel (of the sdist, for a wheel that was built here) to its
    address. ResolveError when the lock lacks the request or `urls` lacks a file.
    """
    environment = lock.environments.get(request.digest())
    if environment is None:
        raise ResolveError("the lock does not hold this environment", hint="run `mfbuild lock`")
    platforms = sorted(environment.wheels, key=str)
    users: dict[tuple[str, str], dict[LockedWheel, list[Platform]]] = {}
    for platform in platforms:
        for wheel in environment.wheels[platform]:
            files = users.setdefault((wheel.name, wheel.version), {})
            files.setdefault(wheel, []).append(platform)
    minor = ".".join(request.python.split(".")[:2])
    lines = [
        'lock-version = "1.0"',
        f"environments = {_array(_marker([platform]) for platform in platforms)}",
        f"requires-python = {json.dumps(f'=={minor}.*')}",
        'created-by = "mfbuild"',
    ]
    for (name, version), files in sorted(users.items()):
        used = [p for p in platforms if any(p in where for where in files.values())]
        marker = _marker(used) if used != platforms else None
        lines += ["", *_package(name, version, marker, sorted(files), urls)]
    return "\n".join(lines) + "\n"


def _fitting(package: Package, request: Request, platform: Platform) -> Iterable[Artifact]:
    from packaging.tags import create_compatible_tags_selector
    from packaging.utils import parse_wheel_filename

    version = str(package.version or "")
    tags = wheel_tags(request.python, request.glibc, platform)
    wheels = [(wheel, parse_wheel_filename(wheel.filename)) for wheel in package.wheels or ()]
    wheels.sort(key=lambda item: item[1][2], reverse=True)
    fitting = create_compatible_tags_selector(tags)((w, parsed[3]) for w, parsed in wheels)
    files: list[PackageWheel | PackageSdist] = [*fitting]
    files += [package.sdist] if package.sdist else []
    for file in files:
        sha256 = file.hashes.get("sha256")
        if sha256:
            yield Artifact(package.name, version, file.filename, file.url, file.size, sha256)


def _package(
    name: str,
    version: str,
    marker: str | None,
    wheels: list[LockedWheel],
    urls: Mapping[str, str],
) -> Iterable[str]:
    yield "[[packages]]"
    yield f"name = {json.dumps(name)}"
    yield f"version = {json.dumps(version)}"
    if marker:
        yield f"marker = {json.dumps(marker)}"
    sdists = {(w.sdist, w.sdist_sha256) for w in wheels if w.sdist and w.sdist_sha256}
    for filename, sha256 in sorted(sdists):
        yield f"sdist = {_file(filename, sha256, None, urls)}"
    direct = [_file(w.filename, w.sha256, w.size, urls) for w in wheels if not w.sdist]
    if direct:
        yield "wheels = [\n" + "".join(f"    {entry},\n" for entry in direct) + "]"


def _file(filename: str, sha256: str, size: int | None, urls: Mapping[str, str]) -> str:
    url = urls.get(sha256)
    if url is None:
        raise ResolveError(f"no index that is configured has `{filename}` as it is locked")
    fields: dict[str, Any] = {"name": filename, "url": url}
    if size is not None:
        fields["size"] = size
    inner = "".join(f"{key} = {json.dumps(value)}, " for key, value in fields.items())
    return "{ " + inner + f'hashes = {{ sha256 = "{sha256}" }}' + " }"


def _marker(platforms: Iterable[Platform]) -> str:
    names = " or ".join(f"platform_machine == '{machine(p)}'" for p in platforms)
    return f"sys_platform == 'linux' and ({names})"


def _array(values: Iterable[str]) -> str:
    return "[" + ", ".join(json.dumps(value) for value in values) + "]"
