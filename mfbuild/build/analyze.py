"""The pure stage analyze: flows, lock and policy -> the static action graph of a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mfbuild.build.environments import StepNeed
from mfbuild.engine.model import Action, Digest, Output
from mfbuild.flow.codec import public_json
from mfbuild.flow.options import flow_options
from mfbuild.flow.spec import FlowSpec
from mfbuild.oci.types import Platform
from mfbuild.python.model import Lock
from mfbuild.rules.base_image import base_image
from mfbuild.rules.code import code
from mfbuild.rules.env_layers import env_layers
from mfbuild.rules.flyte import flyte
from mfbuild.rules.providers import (
    BaseInfo,
    CodeEntry,
    CodeInfo,
    Declared,
    Environment,
    FlyteInfo,
    ImageInfo,
    SourceTree,
    merged,
)
from mfbuild.rules.step_image import step_image

if TYPE_CHECKING:
    from mfbuild.config import Config


@dataclass(frozen=True, slots=True)
class FlowInput:
    """One flow with everything that its actions are made from.

    `label` is `//<file>`; `code` and `sources` carry the digests of their files; `options` are
    Metaflow's top-level options, which its tasks get too; `compilers` the full versions of the
    Pythons that compile bytecode, by minor version.
    """

    label: str
    spec: FlowSpec
    needs: Mapping[str, StepNeed]
    code: tuple[CodeEntry, ...]
    sources: tuple[SourceTree, ...]
    options: tuple[str, ...] = ()
    compilers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepTarget:
    """One step's image, and the digest of the request that its environment answers.

    `label` is the image's: steps that share an environment share the label of its first step.
    `overlaps` is what its wheels bring several times, see `EnvInfo`.
    """

    label: str
    image: ImageInfo
    environment: Digest
    overlaps: Mapping[Platform, Output]


@dataclass(frozen=True, slots=True)
class FlowTarget:
    """What one flow's bundle is made of."""

    label: str
    spec: FlowSpec
    steps: Mapping[str, StepTarget]
    code: CodeInfo
    flyte: FlyteInfo

    def goals(self) -> tuple[Output, ...]:
        """Every blob that the bundle holds, once."""
        found: dict[Output, None] = {self.code.tarball: None, self.flyte.templates: None}
        for step in self.steps.values():
            found |= dict.fromkeys(image_goals(step.image))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Analysis:
    """The actions of a build, and the flows that they are for."""

    actions: tuple[Action, ...]
    flows: tuple[FlowTarget, ...]

    def goals(self) -> tuple[Output, ...]:
        """What the bundles hold, and what is said of it."""
        held = (goal for flow in self.flows for goal in flow.goals())
        steps = (step for flow in self.flows for step in flow.steps.values())
        return tuple(dict.fromkeys([*held, *(o for s in steps for o in s.overlaps.values())]))


def image_goals(image: ImageInfo) -> tuple[Output, ...]:
    """Every blob of one image."""
    layers = (layer.blob for stack in image.layers.values() for layer in stack)
    return (image.index, *image.manifests.values(), *image.configs.values(), *layers)


def analyze(flows: Sequence[FlowInput], lock: Lock, config: Config) -> Analysis:
    """The action graph of `flows`; every request of theirs is in `lock`."""
    actions: list[Action] = []
    targets = [_flow(flow, lock, config, actions) for flow in flows]
    return Analysis(merged(actions), tuple(targets))


def _flow(flow: FlowInput, lock: Lock, config: Config, actions: list[Action]) -> FlowTarget:
    environments = _environments(flow, lock)
    layers = env_layers(environments, config.platforms, flow.compilers)
    actions += layers.actions
    images: dict[str, StepTarget] = {}
    for name, environment in environments.items():
        base = _base(environment, config, actions)
        label = f"{flow.label}:{environment.steps[0]}.image"
        made = step_image(label, environment, base, layers.provider[name], config.platforms)
        actions += made.actions
        digest = environment.locked.request.digest()
        target = StepTarget(label, made.provider, digest, layers.provider[name].overlaps)
        images |= dict.fromkeys(environment.steps, target)
    tarball = code(flow.label, flow.code)
    actions += tarball.actions
    templates = flyte_templates(flow, config)
    actions += templates.actions
    steps = {s.name: images[s.name] for s in flow.spec.steps}
    return FlowTarget(flow.label, flow.spec, steps, tarball.provider, templates.provider)


def flyte_templates(flow: FlowInput, config: Config) -> Declared[FlyteInfo]:
    """The action that compiles `flow`, with what `config` says of it."""
    resources = {s.name: config.target(flow.label, s.name).resources for s in flow.spec.steps}
    return flyte(
        flow.label,
        public_json(flow.spec),
        options=_task_options(flow.options),
        resources={step: asked for step, asked in resources.items() if asked},
        parallelism=config.targets[flow.label].parallelism if flow.label in config.targets else 0,
    )


def _base(environment: Environment, config: Config, actions: list[Action]) -> BaseInfo:
    declared = base_image(environment.base, config.platforms)
    actions += declared.actions
    return declared.provider


def _environments(flow: FlowInput, lock: Lock) -> dict[str, Environment]:
    """The distinct environments of a flow, in the order of the first step that uses each."""
    steps: dict[str, list[str]] = {}
    needs: dict[str, StepNeed] = {}
    for name, need in flow.needs.items():
        key = f"{need.base.name} {need.request.digest()}"
        steps.setdefault(key, []).append(name)
        needs[key] = need
    return {
        key: Environment(
            locked=lock.environments[needs[key].request.digest()],
            base=needs[key].base,
            sources=flow.sources,
            steps=tuple(names),
        )
        for key, names in steps.items()
    }


_READ_HERE = ("--config", "--config-value", "--package-suffixes")
"""Metaflow's options that packaging has used up.

A Config's value travels with the code; its path here would mean nothing to a task.
"""


def _task_options(words: Sequence[str]) -> list[str]:
    """Metaflow's top-level options that tasks are to get."""
    kept = (option for option in flow_options(words) if option.name not in _READ_HERE)
    return [word for option in kept for word in option.words]
