"""What differs between two versions of a flow: steps, packages, code, settings; pure."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from mfbuild.bundle.model import DomainRecord
from mfbuild.engine.model import canonical
from mfbuild.errors import BundleError
from mfbuild.flow.spec import FlowSpec, StepSpec
from mfbuild.oci.layout import children, json_object
from mfbuild.oci.types import PACKAGES

if TYPE_CHECKING:
    from mfbuild.push.bundles import Source

_NOT_COMPARED = {"name", "line", "file", "doc", "decorators", "packages", "python"}
"""Fields of a StepSpec that say nothing new: where it stands, or what others say better."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What of a bundle people compare.

    `packages` are versions by name, by step (of the first platform; "" for one from source);
    `images` digests by step; `code` the sha256 of each file by its name in the tarball.
    """

    spec: FlowSpec
    images: Mapping[str, str]
    packages: Mapping[str, Mapping[str, str]]
    code: Mapping[str, str]
    domains: Mapping[str, DomainRecord]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: what it is about (`step fit`), of what kind, and both values as text.

    `before` is None for what is new, `after` for what is gone.
    """

    subject: str
    kind: str
    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        """`step fit: package pandas 2.2.3 -> 2.2.4`."""
        what = " ".join(word for word in (self.kind, self.name) if word)
        if self.before is None:
            return f"{self.subject}: + {what} {self.after}".rstrip()
        if self.after is None:
            return f"{self.subject}: - {what} {self.before}".rstrip()
        return f"{self.subject}: {what} {self.before} -> {self.after}"


def contents(bundle: Source) -> Contents:
    """What `bundle` holds, as far as it is compared; BundleError or FetchError."""
    manifest = bundle.manifest
    known: dict[str, dict[str, str]] = {}
    for step in manifest.steps.values():
        digest = str(step.image.digest)
        if digest not in known:
            index = bundle.read(step.image)
            first = children(step.image.media_type, index, digest)[0]
            config = children(first.media_type, bundle.read(first), digest)[0]
            known[digest] = _packages(bundle.read(config), digest)
    return Contents(
        spec=manifest.spec,
        images={name: str(step.image.digest) for name, step in manifest.steps.items()},
        packages={name: known[str(s.image.digest)] for name, s in manifest.steps.items()},
        code=_files(bundle.read(manifest.code)),
        domains=manifest.domains,
    )


def changes(before: Contents, after: Contents) -> list[Change]:
    """Every difference: those of the flow, of each domain, of each step, of the code."""
    return [
        *_changed("flow", "", _of_flow(before.spec), _of_flow(after.spec)),
        *_of_domains(before.domains, after.domains),
        *_of_steps(before, after),
        *_changed("code", "file", _short(before.code), _short(after.code)),
    ]


def _of_flow(spec: FlowSpec) -> dict[str, str]:
    parameters = {
        f"parameter {p.name}": canonical([p.type, p.required, p.default]) for p in spec.parameters
    }
    values = {
        "schedule": spec.schedule and f"{spec.schedule.cron} {spec.schedule.timezone or 'UTC'}",
        "project": spec.project and spec.project.name,
        "metaflow": spec.host.metaflow_version,
        **{f"config {name}": canonical(value) for name, value in spec.configs.items()},
    }
    return {**parameters, **{name: value for name, value in values.items() if value}}


def _of_domains(
    before: Mapping[str, DomainRecord], after: Mapping[str, DomainRecord]
) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        sides = [_texts(asdict(side[name])) if name in side else {} for side in (before, after)]
        yield from _changed(f"domain {name}", "", *sides)


def _of_steps(before: Contents, after: Contents) -> Iterator[Change]:
    old, new = ({step.name: step for step in each.spec.steps} for each in (before, after))
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old or name not in new:
            sides = (None, "") if name in new else ("", None)
            yield Change(f"step {name}", "", "", *sides)
            continue
        subject = f"step {name}"
        packages = list(_changed(subject, "package", before.packages[name], after.packages[name]))
        yield from packages
        if not packages and before.images[name] != after.images[name]:
            images = (before.images[name][7:19], after.images[name][7:19])
            yield Change(subject, "image", "(same packages)", *images)
        yield from _changed(subject, "", _of_step(old[name]), _of_step(new[name]))


def _of_step(step: StepSpec) -> dict[str, str]:
    values = {f.name: getattr(step, f.name) for f in fields(step) if f.name not in _NOT_COMPARED}
    for group in ("resources", "retry", "catch"):
        inner = values.pop(group)
        if inner is not None:
            values |= {f"{group}.{f.name}": getattr(inner, f.name) for f in fields(inner)}
    return _texts(values)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """What is set of `values`, as JSON where it is no text."""
    return {
        name: value if isinstance(value, str) else canonical(value)
        for name, value in values.items()
        if value not in (None, "", (), [], {})
    }


def _changed(
    subject: str, kind: str, before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield Change(subject, kind, name, before.get(name), after.get(name))


def _short(digests: Mapping[str, str]) -> dict[str, str]:
    return {name: digest[:12] for name, digest in digests.items()}


def _packages(config: bytes, name: str) -> dict[str, str]:
    """The label of an image that lists its packages, as versions by name."""
    labels = (json_object(config, name).get("config") or {}).get("Labels") or {}
    words = str(labels.get(PACKAGES, "")).split()
    return {package: version for package, _, version in (word.partition("==") for word in words)}


def _files(tarball: bytes) -> dict[str, str]:
    """The sha256 of each file of the code."""
    found: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
            for member in archive:
                if file := archive.extractfile(member):
                    found[member.name] = hashlib.sha256(file.read()).hexdigest()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BundleError(f"the code of the bundle cannot be read: {error}") from error
    return found
