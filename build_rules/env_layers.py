"""The environment rule: locked wheels and source packages as layers below /opt/venv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mfbuild.bases.model import Base
from mfbuild.engine.model import Action, Blob, Digest, Input, Output, Source, canonical
from mfbuild.oci.types import Platform
from mfbuild.python.model import LockedWheel
from mfbuild.rules.layering import Group, layering
from mfbuild.rules.providers import (
    Declared,
    EnvInfo,
    Environment,
    ImageLayer,
    SourceTree,
    layer_action,
)
from mfbuild.rules.tree import file_entries, tree_action

PREFIX = "opt/venv"


def env_layers(
    environments: Mapping[str, Environment],
    platforms: Sequence[Platform],
    compilers: Mapping[str, str],
) -> Declared[Mapping[str, EnvInfo]]:
    """The layers of all environments of one flow; wheels are grouped over the whole flow.

    `compilers` gives, for a Python minor version, the full version that compiles bytecode for it;
    environments of other versions get no layer of bytecode.
    """
    actions: list[Action] = []
    layers: dict[str, dict[Platform, tuple[ImageLayer, ...]]] = {n: {} for n in environments}
    overlaps: dict[str, dict[Platform, Output]] = {n: {} for n in environments}
    for platform in platforms:
        wheels = {n: e.locked.wheels[platform] for n, e in environments.items()}
        stacks = layering(wheels, {n: len(e.steps) for n, e in environments.items()})
        for name, environment in environments.items():
            base, groups = environment.base, stacks[name]
            venv = _venv_layer(base)
            pools = [_wheel_layer(base.python, group) for group in groups]
            overlap = _overlap_layer(base.python, pools)
            above = _above(environment, groups, compilers)
            actions += [venv, *pools, overlap, *above]
            layers[name][platform] = (
                ImageLayer.made_by(venv.label),
                # What the wheels bring together is told by the layer of their overlaps.
                *(replace(ImageLayer.made_by(a.label), paths=None) for a in pools),
                *(ImageLayer.made_by(a.label) for a in (overlap, *above)),
            )
            overlaps[name][platform] = Output(overlap.label, "overlaps")
    return Declared({n: EnvInfo(layers[n], overlaps[n]) for n in environments}, tuple(actions))


def _above(
    environment: Environment, groups: Sequence[Group], compilers: Mapping[str, str]
) -> list[Action]:
    """The layers above those of the wheels."""
    python = environment.base.python
    sources = [_source_layer(python, tree) for tree in environment.sources]
    compiler = compilers.get(python)
    return [*sources, *([_pyc_layer(python, groups, compiler)] if compiler else [])]


def _venv_layer(base: Base) -> Action:
    """The skeleton of a venv (PEP 405), whose python is the base's interpreter."""
    home = base.interpreter.rpartition("/")[0]
    config = f"home = {home}\ninclude-system-site-packages = false\nversion = {base.python}\n"
    links = {"python": base.interpreter, "python3": "python", f"python{base.python}": "python"}
    entries = [{"path": f"{PREFIX}/pyvenv.cfg", "mode": 0o644, "text": config}]
    entries += [
        {"path": f"{PREFIX}/bin/{name}", "mode": 0o777, "symlink": target}
        for name, target in links.items()
    ]
    label = f"@python{base.python}//venv:{base.name}"
    return tree_action(label, entries, {}, comment=f"venv of {base.name}", owner="venv")


def _wheel_layer(python: str, group: Group) -> Action:
    names = [w.filename for w in group.wheels]
    if len(names) == 1:
        name = comment = names[0]
    else:
        name = f"pool-{Digest.of(canonical(names).encode()).hex[:12]}"
        comment = f"{len(names)} small wheels"
    params = {"comment": comment, "prefix": PREFIX, "python": python, "wheels": names}
    label, inputs = f"@python{python}//{name}", _inputs(group.wheels)
    action = layer_action(label, "wheel.layer", canonical(params), inputs, comment)
    return replace(action, outputs=(*action.outputs, "requires"))


def _overlap_layer(python: str, wheels: Sequence[Action]) -> Action:
    """What the layers of `wheels`, lowest first, get wrong of the paths that several bring.

    It is made from the layers, so that they stay what they are, whoever shares them.
    """
    names = [f"{number:02d}" for number in range(len(wheels))]
    inputs = {
        f"{kind}/{name}": Output(wheel.label, kind)
        for name, wheel in zip(names, wheels, strict=True)
        for kind in ("layer", "paths", "requires")
    }
    stack = Digest.of(canonical([wheel.label for wheel in wheels]).encode())
    return Action(
        label=f"@python{python}//overlap-{stack.hex[:12]}",
        tool="wheel.overlap",
        params=canonical({"comment": "files of several wheels", "layers": names}),
        inputs=tuple(sorted(inputs.items())),
        outputs=("info", "layer", "overlaps", "paths"),
        description="settling files of several wheels",
    )


def _pyc_layer(python: str, groups: Sequence[Group], compiler: str) -> Action:
    wheels = sorted(w for g in groups for w in g.wheels)
    names = [w.filename for w in wheels]
    params = {
        "comment": "bytecode",
        "compiler": compiler,
        "prefix": PREFIX,
        "python": python,
        "wheels": names,
    }
    label = f"@python{python}//pyc-{Digest.of(canonical(names).encode()).hex[:12]}"
    return layer_action(label, "python.pyc", canonical(params), _inputs(wheels), "compiling")


def _source_layer(python: str, tree: SourceTree) -> Action:
    site = f"{PREFIX}/lib/python{python}/site-packages/"
    entries, inputs = file_entries(tree.files, prefix=site)
    label = f"@python{python}//source:{tree.name}"
    return tree_action(label, entries, inputs, comment=f"source of {tree.name}", owner=tree.name)


def _inputs(wheels: Sequence[LockedWheel]) -> dict[str, Input]:
    return {
        w.filename: Source(Blob(Digest(w.sha256), w.size), f"wheel:{w.filename}") for w in wheels
    }
