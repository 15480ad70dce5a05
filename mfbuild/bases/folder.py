"""Base images: a folder of images/ (Debian packages, or an OCI image by digest) as one value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mfbuild.bases.lockfile import read_lock, unusable
from mfbuild.bases.model import Base, ImageSpec
from mfbuild.debian.model import ARCHITECTURES, LockedDeb
from mfbuild.errors import Problem, UsageError, did_you_mean
from mfbuild.files import words_of
from mfbuild.oci.types import Platform

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\Z")


def load_base(name: str, workspace: Path, platforms: Sequence[Platform]) -> Base:
    """The base image `name`, a folder of the workspace's images/ or of those shipped with mfbuild.

    UsageError if there is none or its image.toml is wrong; ResolveError if its lock is missing,
    stale, or does not cover `platforms`.
    """
    folder = find_image(name, workspace)
    spec = read_image(folder / "image.toml")
    lock = read_lock(folder / "image.lock", spec.digest)
    debs = {p: d for p in platforms if (d := _for_platform(lock.debs, spec, p))}
    foreign = {p: lock.foreign[p] for p in platforms if p in lock.foreign}
    if uncovered := [p for p in platforms if p not in debs and p not in foreign]:
        names = ", ".join(f"`{p}`" for p in uncovered)
        raise unusable(folder / "image.lock", f"does not cover {names}")
    return Base(
        name=name,
        python=spec.python,
        interpreter=spec.interpreter,
        glibc=spec.glibc,
        user=spec.user,
        env=spec.env,
        debs=debs,
        foreign=foreign,
    )


# Where images are.


def _shipped() -> Path:
    """The images shipped with mfbuild: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "_images"
    return inside if inside.is_dir() else package.parent / "images"


def find_image(name: str, workspace: Path) -> Path:
    """The folder of the base image `name`; UsageError if there is none."""
    roots = (workspace / "images", _shipped())
    for root in roots:
        if _NAME.match(name) and (root / name / "image.toml").is_file():
            return root / name
    known = sorted({p.parent.name for root in roots for p in root.glob("*/image.toml")})
    raise UsageError(f"there is no base image `{name}`", hint=did_you_mean(name, known))


# image.toml


def read_image(path: Path) -> ImageSpec:
    """Read an image.toml; UsageError names everything that is wrong with it."""
    import tomli

    try:
        table = tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise UsageError(f"reading `image.toml`: {words_of(error)}", where=str(path)) from error
    UsageError.raise_for([Problem(p, str(path), hint) for p, hint in _complaints(table)])
    debian = table.get("debian", {})
    given = {key: table[key] for key in ("user", "env") if key in table}
    return ImageSpec(
        python=table["python"],
        interpreter=table["interpreter"],
        glibc=table["glibc"],
        suites=tuple(debian.get("suites", ())),
        packages=tuple(sorted(set(debian.get("packages", ())))),
        origin=table.get("from"),
        **given,
    )


_PATTERNS: Mapping[str, tuple[str, str]] = {
    "python": (r"3\.\d+", "must be a version like `3.11`"),
    "interpreter": (r"/[^\s]+", "must be an absolute path"),
    "glibc": (r"\d+\.\d+", "must be a version like `2.36`"),
    "user": (r"\d+:\d+", "must be `uid:gid` in numbers"),
    "from": (r"\S+@sha256:[0-9a-f]{64}", "must be an image by digest, `repository@sha256:…`"),
    "suites": (r"[a-z][a-z0-9.-]*", "must be a list of suites"),
    "packages": (r"[a-z0-9][a-z0-9+.-]+", "must be a list of package names"),
}
_TOP = ("python", "interpreter", "glibc", "user", "from", "env", "debian")
_DEBIAN = ("suites", "packages")


def _complaints(table: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """What is wrong with an image.toml: sentences, each with a hint."""
    found: list[tuple[str, str | None]] = []
    debian = table.get("debian", {})
    if not isinstance(debian, dict):
        return [("`debian` must be a table", None)]
    found += [(f"unknown key `{k}`", did_you_mean(k, _TOP)) for k in table if k not in _TOP]
    found += [
        (f"unknown key `debian.{k}`", did_you_mean(k, _DEBIAN)) for k in debian if k not in _DEBIAN
    ]
    if ("from" in table) == ("debian" in table):
        found.append(("an image needs either `from` or `[debian]`", None))
    required = ("python", "interpreter", "glibc")
    found += [(f"`{key}` is missing", None) for key in required if key not in table]
    found += [(f"`debian.{k}` is missing", None) for k in _DEBIAN if debian and not debian.get(k)]
    for key, value in [*table.items(), *debian.items()]:
        if key in _PATTERNS and not _matches(key, value):
            shown = json.dumps(value, ensure_ascii=False, default=str)
            found.append((f"`{key}` {_PATTERNS[key][1]}, not `{shown}`", None))
    env = table.get("env", {})
    if not isinstance(env, dict) or not all(isinstance(v, str) for v in env.values()):
        found.append(("`env` must be a table of strings", None))
    return found


def _matches(key: str, value: Any) -> bool:
    values = value if key in _DEBIAN and isinstance(value, list) else [value]
    ok = all(isinstance(v, str) and re.fullmatch(_PATTERNS[key][0], v) for v in values)
    return ok and isinstance(value, list) == (key in _DEBIAN)


def _for_platform(
    debs: Sequence[LockedDeb], spec: ImageSpec, platform: Platform
) -> tuple[LockedDeb, ...] | None:
    """The packages for one platform, or None if they are not exactly those that `spec` lists."""
    found = tuple(d for d in debs if d.architecture in (architecture(platform), "all"))
    return found if sorted(d.package for d in found) == sorted(spec.packages) else None


def architecture(platform: Platform) -> str:
    """Debian's name of a platform's architecture; UsageError where Debian has none."""
    name = ARCHITECTURES.get(platform.architecture)
    if platform.os != "linux" or name is None:
        raise UsageError(f"a base image of Debian packages for `{platform}` is not supported")
    return name
