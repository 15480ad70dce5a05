"""Differences of two versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mfbuild.flow.spec import FlowSpec, ParameterSpec, Resources, Retry, Schedule, StepSpec
from mfbuild.push.diff import changes, contents
from tests.push.pushing import NO_SETTINGS, make_bundle, train_flow


def told(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    sides = (make_bundle(folder / "a", **before), make_bundle(folder / "b", **after))
    return [str(change) for change in changes(*(contents(bundle) for bundle in sides))]


def with_fit(**values: Any) -> FlowSpec:
    spec = train_flow()
    steps: list[StepSpec] = [replace(s, **values) if s.name == "fit" else s for s in spec.steps]
    return replace(spec, steps=tuple(steps))


def test_the_same_has_no_difference(tmp_path: Path) -> None:
    assert told(tmp_path, {}, {}) == []


def test_packages_code_and_settings(tmp_path: Path) -> None:
    before = {"packages": {"fit": "numpy==2.0 pandas==2.2.3 six==1"}}
    after = {
        "packages": {"fit": "numpy==2.0 pandas==2.2.4 scipy==1.5"},
        "code": {"train.py": b"other", "more.py": b""},
        "domains": {"staging": replace(NO_SETTINGS, registry="registry.example.com/x")},
    }
    found = told(tmp_path, before, after)
    assert "domain staging: + registry registry.example.com/x" in found
    assert [line for line in found if line.startswith("step")] == [
        "step fit: package pandas 2.2.3 -> 2.2.4",
        "step fit: + package scipy 1.5",
        "step fit: - package six 1",
    ]
    assert [line.partition(" ")[2][:15] for line in found if line.startswith("code")] == [
        "+ file more.py ",
        "file train.py 7",
    ]


def test_what_a_step_asks_for(tmp_path: Path) -> None:
    after = with_fit(
        resources=Resources(cpu=2, memory=4096), retry=Retry(3, 2.0), environment={"A": "1"}
    )
    assert told(tmp_path, {}, {"spec": after}) == [
        'step fit: + environment {"A":"1"}',
        "step fit: + resources.cpu 2",
        "step fit: + resources.memory 4096",
        "step fit: + retry.minutes_between_retries 2.0",
        "step fit: + retry.times 3",
    ]


def test_steps_parameters_and_schedules(tmp_path: Path) -> None:
    spec = train_flow()
    shorter = replace(spec, steps=(replace(spec.steps[0], next=("end",)), spec.steps[2]))
    parameter = ParameterSpec(
        "alpha", "alpha", "float", False, True, 0.5, False, "", None, True, None
    )
    after = replace(
        shorter, parameters=(parameter,), schedule=Schedule("0 10 * * ? *", "Europe/Berlin")
    )
    assert told(tmp_path, {}, {"spec": after}) == [
        'flow: + parameter alpha ["float",false,0.5]',
        "flow: + schedule 0 10 * * ? * Europe/Berlin",
        'step start: next ["fit"] -> ["end"]',
        "step fit: -",
    ]
