"""The base image rule: Debian packages merged into one layer, or an OCI image's own layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mfbuild.bases.model import Base
from mfbuild.debian.model import LockedDeb
from mfbuild.engine.model import Action, Blob, Digest, Input, Output, Source, canonical
from mfbuild.oci.types import BaseLayer, ForeignBase, Platform
from mfbuild.rules.providers import BaseInfo, Declared, ImageLayer, layer_action, merged


def base_image(base: Base, platforms: Sequence[Platform]) -> Declared[BaseInfo]:
    """The layers of `base` for each of `platforms`; all of them are in the base's lock."""
    if base.foreign:
        return _foreign(base, platforms)
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


def _foreign(base: Base, platforms: Sequence[Platform]) -> Declared[BaseInfo]:
    """Its layers as they are, brought into the store by an action each."""
    layers: dict[Platform, tuple[ImageLayer, ...]] = {}
    env: dict[Platform, Mapping[str, str]] = {}
    actions: list[Action] = []
    for platform in platforms:
        image = base.foreign[platform]
        made = [(layer, _copy(base, image, layer)) for layer in image.layers]
        layers[platform] = tuple(
            ImageLayer(
                Output(action.label, "layer"),
                media_type=layer.descriptor.media_type,
                diff_id=layer.diff_id,
            )
            for layer, action in made
        )
        env[platform] = dict(v.partition("=")[::2] for v in image.env) | dict(base.env)
        actions += [action for _, action in made]
    return Declared(BaseInfo(layers, env), merged(actions))


def _copy(base: Base, image: ForeignBase, layer: BaseLayer) -> Action:
    found = layer.descriptor
    source = Source(Blob(found.digest, found.size), f"oci:{image.repository}@{found.digest}")
    return Action(
        label=f"//images/{base.name}[{found.digest.hex[:12]}]",
        tool="oci.copy",
        params="{}",
        inputs=(("layer", source),),
        outputs=("layer",),
        description=f"taking a layer of {base.name}",
    )
