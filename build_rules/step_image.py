"""The step image rule: base and environment layers under one config, for every platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mfbuild.engine.model import Action, Input, Output, canonical
from mfbuild.oci.types import PACKAGES, Platform
from mfbuild.rules.env_layers import PREFIX
from mfbuild.rules.providers import BaseInfo, Declared, EnvInfo, Environment, ImageInfo, ImageLayer

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def step_image(
    label: str,
    environment: Environment,
    base: BaseInfo,
    env: EnvInfo,
    platforms: Sequence[Platform],
) -> Declared[ImageInfo]:
    """The image called `label` (`//train.py:start.image`) of one environment."""
    layers = {p: base.layers[p] + env.layers[p] for p in platforms}
    images = {
        p: _image(f"{label}[{p}]", p, layers[p], _config(environment, base.env[p], p))
        for p in platforms
    }
    index = Action(
        label=label,
        tool="oci.index",
        params=canonical({"platforms": [str(p) for p in platforms]}),
        inputs=tuple(sorted((str(p), Output(a.label, "manifest")) for p, a in images.items())),
        outputs=("index",),
        description="writing the image index",
    )
    info = ImageInfo(
        index=Output(label, "index"),
        manifests={p: Output(a.label, "manifest") for p, a in images.items()},
        configs={p: Output(a.label, "config") for p, a in images.items()},
        layers=layers,
    )
    return Declared(info, (*images.values(), index))


def _config(
    environment: Environment, base: Mapping[str, str], platform: Platform
) -> dict[str, Any]:
    env = {
        **base,
        "PATH": f"/{PREFIX}/bin:{base.get('PATH', PATH)}",
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": f"/{PREFIX}",
    }
    return {
        "cmd": [f"/{PREFIX}/bin/python"],
        "env": [f"{name}={value}" for name, value in sorted(env.items())],
        "labels": {
            "dev.mfbuild.environment": str(environment.locked.request.digest()),
            PACKAGES: _packages(environment, platform),
        },
        "user": environment.base.user,
        "workdir": "/home/nonroot" if environment.base.debs else "/tmp",
    }


def _packages(environment: Environment, platform: Platform) -> str:
    """What is installed, as `name==version` words by name; of packages from source the name."""
    wheels = {w.name: f"{w.name}=={w.version}" for w in environment.locked.wheels[platform]}
    sources = {tree.name: tree.name for tree in environment.sources}
    return " ".join(word for _, word in sorted({**wheels, **sources}.items()))


def _image(
    label: str, platform: Platform, layers: Sequence[ImageLayer], config: Mapping[str, Any]
) -> Action:
    inputs: dict[str, Input] = {}
    described: list[dict[str, str]] = []
    for number, layer in enumerate(layers):
        name = f"{number:02d}"
        given = {"layer": layer.blob, "info": layer.info, "paths": layer.paths}
        inputs |= {f"{kind}/{name}": blob for kind, blob in given.items() if blob is not None}
        entry = {"input": name, "media_type": layer.media_type}
        described.append(entry | ({"diff_id": str(layer.diff_id)} if layer.diff_id else {}))
    return Action(
        label=label,
        tool="oci.image",
        params=canonical({**config, "layers": described, "platform": str(platform)}),
        inputs=tuple(sorted(inputs.items())),
        outputs=("config", "manifest"),
        description=f"writing the image for {platform}",
    )
