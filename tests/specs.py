"""Makers of the project's values with everything that a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mfbuild.bases.model import Base
from mfbuild.flow.spec import FlowSpec, Host, NodeType, Resources, StepSpec
from mfbuild.oci.types import Platform

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def step(
    name: str = "start",
    *,
    kind: NodeType = "linear",
    line: int = 5,
    next: tuple[str, ...] = (),
    python: str | None = None,
    packages: Mapping[str, str] | None = None,
    image: str | None = None,
) -> StepSpec:
    return StepSpec(
        name=name,
        type=kind,
        line=line,
        doc="",
        next=next,
        switch_condition=None,
        switch_cases={},
        foreach=None,
        parallel=False,
        matching_join=None,
        split_parents=(),
        python=python,
        packages=packages or {},
        resources=Resources(),
        image=image,
        kubernetes={},
        environment={},
        secrets=(),
        retry=None,
        catch=None,
        timeout_seconds=None,
        decorators=(),
    )


def flow(*steps: StepSpec, requirements: tuple[str, ...] = ("metaflow==2.19.39",)) -> FlowSpec:
    steps = steps or (step(),)
    return FlowSpec(
        name="TrainFlow",
        file="train.py",
        line=3,
        doc="",
        start=steps[0].name,
        end=steps[-1].name,
        steps=steps,
        parameters=(),
        configs={},
        schedule=None,
        project=None,
        flyte=None,
        decorators=(),
        code=(),
        host=Host(
            python="3.12",
            metaflow_version="2.19.39",
            datastore="local",
            requirements=requirements,
            sources=(),
        ),
    )


def base(name: str = "python3.11", **changes: Any) -> Base:
    values: dict[str, Any] = {
        "name": name,
        "python": "3.11",
        "interpreter": "/usr/bin/python3.11",
        "glibc": "2.36",
        "user": "65532:65532",
        "env": {},
        "debs": {AMD64: (), ARM64: ()},
        "foreign": {},
    }
    return Base(**(values | changes))
