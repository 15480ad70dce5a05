"""What Flyte cannot do is told at once, with step, file and line."""

from __future__ import annotations

import struct
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfbuild.errors import Problem
from mfbuild.flow.spec import Catch, DecoratorSpec, FlowSpec, Retry, Schedule
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.names import TRAVELLING
from mfbuild.flyte.refuse import refuse
from mfbuild.runtime.inputs import input_name
from tests.flyte.shapes import Sketch
from tests.flyte.test_launch_plan import parameter
from tests.specs import flow, step

Load = Callable[[str], FlowSpec]


@pytest.fixture(autouse=True)
def zones(tmp_path: Path) -> Iterator[None]:
    """A database of timezones that has UTC and Europe/Berlin, whatever this machine has."""
    (tmp_path / "Europe").mkdir()
    empty = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0"
    for name in ("UTC", "Europe/Berlin"):
        (tmp_path / name).write_bytes(empty)
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo.clear_cache()


def problems(spec: FlowSpec) -> list[tuple[str, str | None, str | None]]:
    return [(p.message, p.where, p.hint) for p in refuse(spec).problems]


def of_step(**changes: Any) -> list[tuple[str, str | None, str | None]]:
    return problems(flow(replace(step("start", kind="end", line=7), **changes)))


def of_kubernetes(**asked: Any) -> list[tuple[str, str | None]]:
    """The problems, without what all of them begin with, and their hints."""
    told = of_step(kubernetes=asked)
    prefix = "@kubernetes of step `start`: "
    assert all(m.startswith(prefix) and where == "train.py:7" for m, where, _ in told)
    return [(message.removeprefix(prefix), hint) for message, _, hint in told]


def test_a_plain_flow_has_no_problem(loaded: Load) -> None:
    assert refuse(loaded("tests/flows/decorated.py")) == ((), ())


def test_gangs(loaded: Load) -> None:
    assert problems(loaded("tests/flows/gang.py")) == [
        (
            "@parallel of step `train` is not supported",
            "tests/flows/gang.py:13",
            "Flyte starts no gang of tasks; use a foreach",
        )
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trigger", "start an execution from where the event is"),
        ("trigger_on_finish", "start the flow at the end of the other one, or give it a @schedule"),
        ("exit_hook", "Flyte notifies through its launch plans and the console"),
        ("airflow_s3_key_sensor", "it is for Airflow"),
    ],
)
def test_decorators_of_flows(name: str, hint: str) -> None:
    spec = flow(step("start", kind="end"))
    decorated = replace(spec, decorators=(DecoratorSpec(name, {}, True),))
    assert problems(decorated) == [(f"@{name} is not supported", "train.py:3", hint)]


def test_batch() -> None:
    batch = DecoratorSpec("batch", {}, True)
    assert of_step(decorators=(batch,), file="base.py") == [
        ("@batch of step `start` is not supported", "base.py:7", "use @resources or @kubernetes")
    ]


@pytest.mark.parametrize("name", ["code", "run", "iteration", "_code", "größe", "_", "class"])
def test_a_parameter_may_have_any_name(name: str) -> None:
    spec = replace(flow(step(kind="end")), parameters=(parameter(name=name),))
    assert problems(spec) == []
    inputs = compile_flow(spec).workflow.interface.inputs.variables
    assert inputs.keys() == {*TRAVELLING, input_name(name)}


@pytest.mark.parametrize(
    "name", ["", "A=B", "A B", "2X", "A\0", "é", "..", "..a", "3 (int)", "A\n"]
)
def test_variables_that_no_pod_can_have(name: str) -> None:
    problem = f"@environment of step `start`: `{name!a}` is not the name of a variable"
    assert of_step(environment={name: "x"}) == [(problem, "train.py:7", None)]


def test_values_that_no_process_can_have() -> None:
    assert of_step(environment={"A": "a\0b", "B": "\udc80", "C": "", "_d.e-f": "é\n$"}) == [
        (f"@environment of step `start`: the value of `{name}` {what}", "train.py:7", None)
        for name, what in (("A", "has a NUL, where it would end"), ("B", "is no text in UTF-8"))
    ]


def test_parameters_that_are_no_inputs() -> None:
    parameters = (
        parameter(name="a-b"),
        parameter(name="a_b"),
        parameter(name="large", type="int", default=2**63),
    )
    assert problems(replace(flow(step(kind="end")), parameters=parameters)) == [
        ("parameter `a_b` and `a-b` are the same input `a_b`", "train.py:3", None),
        ("the default of parameter `large` does not fit into 64 bits", "train.py:3", None),
    ]


def test_schedules() -> None:
    spec = replace(
        flow(step(kind="end")),
        schedule=Schedule("0 0 L * ? *", "Europe/Nowhere"),
        parameters=(parameter(name="needed", required=True, has_default=False),),
    )
    assert problems(spec) == [
        ("@schedule: the day of the month `L` is not supported", "train.py:3", None),
        ("@schedule: `Europe/Nowhere` is not a timezone", "train.py:3", None),
        (
            "@schedule starts the flow without the parameter `needed`, which is required",
            "train.py:3",
            "give it a default",
        ),
    ]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", None])
def test_schedules_that_are_fine(zone: str | None) -> None:
    assert problems(replace(flow(step(kind="end")), schedule=Schedule("0 0 * * ? *", zone))) == []


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/localtime", "Mars", "UTC 0", "\0"])
def test_timezones_that_are_none(zone: str) -> None:
    spec = replace(flow(step(kind="end")), schedule=Schedule("0 0 * * ? *", zone))
    assert problems(spec) == [(f"@schedule: `{zone}` is not a timezone", "train.py:3", None)]


@pytest.mark.parametrize(
    "source",
    ["flyte.group", "flyte.group/", "flyte./key", "flyte.a/b/c", "flyte.a/with-dash"],
)
def test_secrets(source: str) -> None:
    assert of_step(secrets=(source,)) == [
        (
            f"@secrets of step `start`: `{source}` is not a Flyte secret",
            "train.py:7",
            "write `flyte.<group>/<key>`, and a `variable` where the key cannot be one",
        )
    ]


def test_what_kubernetes_cannot_do_under_flyte() -> None:
    assert of_kubernetes(namespace="ml", executable="python3.9") == [
        (
            "`namespace` is not supported",
            "Flyte runs steps in the namespace of the project and domain",
        ),
        ("`executable` is not supported", "the image's own interpreter runs the step"),
    ]


def test_what_kubernetes_does_not_take() -> None:
    labels = {"team": "m l", "a b": "x", "Example.com/x": "y", "ok.example/x": None}
    assert of_kubernetes(
        labels=labels,
        annotations={"x/": "y", "ok": "any thing"},
        extended_resources={"example.com/fpga": "two", "example.com/asic": "1k"},
        tmpfs_size="1Gi",
        port="http",
    ) == [
        ("`team=m l` is not a label", None),
        ("`a b=x` is not a label", None),
        ("`Example.com/x=y` is not a label", None),
        ("`x/` is not the name of an annotation", None),
        ("`example.com/fpga=two` is not an amount of a resource", None),
        ("`tmpfs_size=1Gi` is not a whole number", None),
        ("`port=http` is not a whole number", None),
    ]


def test_a_name_that_is_too_long() -> None:
    spec = replace(flow(step(kind="end")), name="F" * 250)
    message = f"the name `{'F' * 250}.start` is longer than 255 characters"
    assert problems(spec) == [(message, "train.py:3", None)]


def test_branches_that_share_a_step() -> None:
    """Metaflow would run `shared` once for each of the two branches."""
    sketch = Sketch()
    for kind in ("split", "linear", "linear", "linear", "join", "linear"):
        sketch.add(kind)
    sketch.lead("s0", "s1", "s2", matching_join="s4")
    for name, following in (("s1", "s3"), ("s2", "s3"), ("s3", "s4"), ("s4", "s5")):
        sketch.lead(name, following)
    assert problems(sketch.flow()) == []  # one path from s3: Metaflow's own checks refuse it
    sketch.lead("s1", "s3", "s4", switch_condition="way")
    sketch.steps["s1"] = replace(sketch.steps["s1"], type="split-switch")
    assert problems(sketch.flow()) == [
        (
            "step `s3` is reached by several branches of step `s0`, which is not supported",
            "train.py:8",
            "join the branches before it",
        )
    ]


def test_everything_at_once(loaded: Load) -> None:
    spec = loaded("tests/flows/gang.py")
    spec = replace(spec, decorators=(DecoratorSpec("trigger", {}, True),))
    assert len(problems(spec)) == 2


def test_too_many_retries_are_capped_with_a_warning() -> None:
    caught = Catch(var=None, print_exception=False)
    findings = refuse(flow(replace(step(kind="end"), retry=Retry(7, 0.0), catch=caught)))
    assert findings.problems == ()
    assert findings.warnings == (
        Problem(
            "step `start` is retried 5 times, not 7",
            "train.py:5",
            "Metaflow makes at most 6 attempts, that of @catch included",
        ),
    )
