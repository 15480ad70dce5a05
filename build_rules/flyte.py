"""The flyte rule: a flow compiled to templates of Flyte's entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mfbuild.engine.model import Action, Output, canonical
from mfbuild.rules.providers import Declared, FlyteInfo


def flyte(
    flow: str,
    spec: Mapping[str, Any],
    *,
    options: Sequence[str],
    resources: Mapping[str, Mapping[str, float]],
    parallelism: int,
) -> Declared[FlyteInfo]:
    """The templates of the flow with the label `flow` (`//train.py`) and the public JSON `spec`.

    `options` are Metaflow's top-level options, `resources` what BUILD.toml sets by step.
    """
    params = {
        "options": list(options),
        "parallelism": parallelism,
        "resources": {step: dict(asked) for step, asked in resources.items()},
        "spec": spec,
    }
    action = Action(
        label=f"{flow}.flyte",
        tool="flyte.compile",
        params=canonical(params),
        inputs=(),
        outputs=("templates",),
        description="compiling for Flyte",
    )
    return Declared(FlyteInfo(Output(action.label, "templates")), (action,))
