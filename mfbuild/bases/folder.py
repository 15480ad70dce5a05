"""Base images: a folder of images/ (Debian packages, or an OCI image by digest) as one value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mfbuild.debian.model import ARCHITECTURES, ARCHIVES, LockedDeb
from mfbuild.engine.model import Digest, canonical
from mfbuild.errors import Problem, ResolveError, UsageError, did_you_mean
from mfbuild.files import words_of, write_atomically
from mfbuild.oci.types import BaseLayer, Descriptor, ForeignBase, Platform

__all__ = ["Base", "BaseLayer", "ForeignBase", "load_base", "lock_images", "read_image"]

_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\Z")


@dataclass(frozen=True, slots=True)
class Base:
    """What images are built upon.

    `python` is `major.minor`; `interpreter` its absolute path in the image; `glibc` the C
    library's version; `user` `uid:gid`. Exactly one of `debs` and `foreign` is filled.
    """

    name: str
    python: str
    interpreter: str
    glibc: str
    user: str
    env: Mapping[str, str]
    debs: Mapping[Platform, tuple[LockedDeb, ...]]
    foreign: Mapping[Platform, ForeignBase]


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What a person wrote in image.toml; `origin` is `from`, or None where `packages` are listed.

    `suites` are Debian's (`bookworm`, `bookworm-security`).
    """

    python: str
    interpreter: str
    glibc: str
    user: str = "65532:65532"
    env: Mapping[str, str] = field(default_factory=dict)
    suites: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    origin: str | None = None

    @property
    def digest(self) -> Digest:
        """The digest of what decides the lock's content."""
        wanted = {
            "from": self.origin,
            "packages": self.packages,
            "suites": self.suites,
        }
        return Digest.of(canonical(wanted).encode())


class LatestDebs(Protocol):
    """Finds the newest version of each package (`debian.index.latest` on the machine's mirrors)."""

    def __call__(
        self, suites: Sequence[str], packages: Sequence[str], architectures: Sequence[str]
    ) -> Sequence[LockedDeb]: ...


class ResolveForeign(Protocol):
    """Finds the layers of an OCI image by digest (`oci.foreign.resolve_foreign`)."""

    def __call__(
        self, reference: str, platforms: Sequence[Platform]
    ) -> Mapping[Platform, ForeignBase]: ...


def load_base(name: str, workspace: Path, platforms: Sequence[Platform]) -> Base:
    """The base image `name`, a folder of the workspace's images/ or of those shipped with mfbuild.

    UsageError if there is none or its image.toml is wrong; ResolveError if its lock is missing,
    stale, or does not cover `platforms`.
    """
    folder = _find(name, workspace)
    spec = read_image(folder / "image.toml")
    lock = _read_lock(folder / "image.lock", spec)
    debs = {p: d for p in platforms if (d := _for_platform(lock.debs, spec, p))}
    foreign = {p: lock.foreign[p] for p in platforms if p in lock.foreign}
    if uncovered := [p for p in platforms if p not in debs and p not in foreign]:
        names = ", ".join(f"`{p}`" for p in uncovered)
        raise _unusable(folder / "image.lock", f"does not cover {names}")
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


def lock_images(
    names: Sequence[str],
    workspace: Path,
    platforms: Sequence[Platform],
    *,
    latest: LatestDebs,
    foreign: ResolveForeign,
) -> tuple[Path, ...]:
    """Renew the locks of the images `names` for `platforms`; the paths of the locks written.

    They are always written to the workspace's images/: a shipped image is copied there first.
    """
    return tuple(
        _lock_image(name, workspace, platforms, latest, foreign) for name in sorted(set(names))
    )


def _lock_image(
    name: str,
    workspace: Path,
    platforms: Sequence[Platform],
    latest: LatestDebs,
    foreign: ResolveForeign,
) -> Path:
    source = _find(name, workspace) / "image.toml"
    spec = read_image(source)
    if spec.origin:
        content = _foreign_lock(spec, foreign(spec.origin, platforms))
    else:
        architectures = [_architecture(p) for p in platforms]
        content = _debian_lock(spec, latest(spec.suites, spec.packages, architectures))
    folder = workspace / "images" / name
    if not (folder / "image.toml").exists():
        write_atomically(folder / "image.toml", source.read_bytes(), mode=None)
    write_atomically(folder / "image.lock", content.encode(), mode=None)
    return folder / "image.lock"


# Where images are.


def _shipped() -> Path:
    """The images shipped with mfbuild: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "_images"
    return inside if inside.is_dir() else package.parent / "images"


def _find(name: str, workspace: Path) -> Path:
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
    if problems := [Problem(p, str(path), hint) for p, hint in _complaints(table)]:
        raise UsageError.all_of(problems)
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


# image.lock


def _debian_lock(spec: ImageSpec, debs: Sequence[LockedDeb]) -> str:
    """One package per line, so that a diff of two locks reads as a list of upgrades."""
    lines = ",\n".join(f"  {canonical(asdict(deb))}" for deb in sorted(set(debs)))
    return (
        f'{{\n "debian": [\n{lines}\n ],\n "digest": "{spec.digest}",\n "format": {_FORMAT}\n}}\n'
    )


def _foreign_lock(spec: ImageSpec, found: Mapping[Platform, ForeignBase]) -> str:
    oci = {str(platform): foreign_json(base) for platform, base in found.items()}
    content = {"digest": str(spec.digest), "format": _FORMAT, "oci": oci}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def foreign_json(base: ForeignBase) -> dict[str, Any]:
    """One platform of an OCI image as a JSON value."""
    layers = [
        {"descriptor": layer.descriptor.json(), "diff_id": str(layer.diff_id)}
        for layer in base.layers
    ]
    return {"env": list(base.env), "layers": layers, "repository": base.repository}


def parse_foreign(value: Mapping[str, Any]) -> ForeignBase:
    """What `foreign_json` wrote; KeyError, TypeError or ValueError for anything else."""
    layers = (
        BaseLayer(Descriptor.parse(v["descriptor"]), Digest.parse(v["diff_id"]))
        for v in value["layers"]
    )
    return ForeignBase(value["repository"], tuple(layers), tuple(value["env"]))


@dataclass(frozen=True, slots=True)
class _Lock:
    """The content of an image.lock; `digest` is that of the ImageSpec it was made from."""

    digest: Digest
    debs: tuple[LockedDeb, ...]
    foreign: Mapping[Platform, ForeignBase]


def _read_lock(path: Path, spec: ImageSpec) -> _Lock:
    try:
        lock = _parse_lock(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise _unusable(path, "does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(path, f"cannot be read: {error!r}") from error
    if lock.digest != spec.digest:
        raise _unusable(path, "is stale")
    return lock


def _unusable(path: Path, reason: str) -> ResolveError:
    problem = f"the lock of the base image `{path.parent.name}` {reason}"
    return ResolveError(problem, where=str(path), hint="run `mfbuild lock --images`")


def _parse_lock(content: Mapping[str, Any]) -> _Lock:
    if content["format"] != _FORMAT:
        raise ValueError(f"`{content['format']}` is not a known format")
    return _Lock(
        Digest.parse(content["digest"]),
        tuple(_parse_deb(value) for value in content.get("debian", ())),
        {Platform.parse(k): parse_foreign(v) for k, v in content.get("oci", {}).items()},
    )


def _parse_deb(value: Mapping[str, Any]) -> LockedDeb:
    deb = LockedDeb(**value)
    Digest.parse(f"sha256:{deb.sha256}")
    if deb.archive not in ARCHIVES or type(deb.size) is not int or ".." in deb.path.split("/"):
        raise ValueError(f"`{deb.path}` is not a file of a Debian mirror")
    return deb


def _for_platform(
    debs: Sequence[LockedDeb], spec: ImageSpec, platform: Platform
) -> tuple[LockedDeb, ...] | None:
    """The packages for one platform, or None if they are not exactly those that `spec` lists."""
    found = tuple(d for d in debs if d.architecture in (_architecture(platform), "all"))
    return found if sorted(d.package for d in found) == sorted(spec.packages) else None


def _architecture(platform: Platform) -> str:
    name = ARCHITECTURES.get(platform.architecture)
    if platform.os != "linux" or name is None:
        raise UsageError(f"a base image of Debian packages for `{platform}` is not supported")
    return name
