"""The base image rule: Debian packages merged into one layer, or an OCI image's own layers."""

from __future__ import annotations

from collections.abc import Sequence

from build_rules.providers import BaseInfo, Declared, ImageLayer, layer_action
from mfbuild.debian.model import LockedDeb
from mfbuild.engine.model import Action, Blob, Digest, Input, Source, canonical
from mfbuild.images import Base, ForeignBase
from mfbuild.oci.types import Platform


def base_image(base: Base, platforms: Sequence[Platform]) -> Declared[BaseInfo]:
    """The layers of `base` for each of `platforms`; all of them are in the base's lock."""
    if base.foreign:
        return Declared(_foreign(base, platforms), ())
    actions = {p: _merge(base, p, base.debs[p]) for p in platforms}
    layers = {p: (ImageLayer.made_by(a.label),) for p, a in actions.items()}
    return Declared(BaseInfo(layers, dict.fromkeys(platforms, base.env)), tuple(actions.values()))


def _merge(base: Base, platform: Platform, debs: Sequence[LockedDeb]) -> Action:
    inputs: dict[str, Input] = {d.path.rpartition("/")[2]: _deb(d) for d in debs}
    params = {
        "architecture": platform.architecture,
        "debs": sorted(inputs),
        "image": {"name": base.name, "python": base.python, "user": base.user},
    }
    description = f"merging {len(debs)} Debian packages for {platform}"
    label = f"//images/{base.name}[{platform}]"
    return layer_action(label, "debian.layer", canonical(params), inputs, description)


def _deb(deb: LockedDeb) -> Source:
    return Source(Blob(Digest(deb.sha256), deb.size), f"deb:{deb.archive}/{deb.path}")


def _foreign(base: Base, platforms: Sequence[Platform]) -> BaseInfo:
    found = {p: base.foreign[p] for p in platforms}
    env = {p: dict(v.partition("=")[::2] for v in f.env) | dict(base.env) for p, f in found.items()}
    return BaseInfo({p: _foreign_layers(f) for p, f in found.items()}, env)


def _foreign_layers(image: ForeignBase) -> tuple[ImageLayer, ...]:
    return tuple(
        ImageLayer(
            blob=Source(
                Blob(layer.descriptor.digest, layer.descriptor.size),
                f"oci:{image.repository}@{layer.descriptor.digest}",
            ),
            media_type=layer.descriptor.media_type,
            diff_id=layer.diff_id,
        )
        for layer in image.layers
    )
