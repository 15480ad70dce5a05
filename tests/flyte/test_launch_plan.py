"""The launch plan: what an execution takes, and when it begins by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flyteidl.core.interface_pb2 import Parameter
from google.protobuf.json_format import MessageToDict

from mfbuild.flow.spec import FlowSpec, ParameterSpec, Schedule
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.names import CODE, PERSON, PLAN, RUN, TRAVELLING
from mfbuild.flyte.nodes import workflow_inputs
from mfbuild.flyte.parameters import parameters_of
from tests.specs import flow, step

Load = Callable[[str], FlowSpec]

TEXT = {"simple": "STRING"}


def parameter(**changes: Any) -> ParameterSpec:
    plain = ParameterSpec(
        name="alpha",
        variable="alpha",
        type="str",
        required=False,
        has_default=True,
        default="x",
        deploy_time=False,
        help="what it is for",
        separator=None,
        is_text=True,
        encoding=None,
    )
    return replace(plain, **changes)


def default_of(**changes: Any) -> tuple[Any, Any]:
    """The type and the default (None: required) of the input that a Parameter becomes."""
    spec = replace(flow(step(kind="end")), parameters=(parameter(**changes),))
    compiled = compile_flow(spec)
    (name,) = compiled.launch_plan.default_inputs.parameters.keys() - {RUN}
    told: Parameter = compiled.launch_plan.default_inputs.parameters[name]
    types = [
        compiled.workflow.interface.inputs.variables[name].type,
        compiled.tasks["start"].interface.inputs.variables[name].type,
    ]
    assert types == [told.var.type] * 2
    assert parameters_of(compiled.launch_plan.default_inputs) == (
        replace(
            spec.parameters[0],
            has_default=not told.required,  # a registered one is there, whatever its value
            default=None,
        ),
    )
    kind = MessageToDict(told.var.type)
    assert kind.pop("annotation")
    return kind, None if told.required else MessageToDict(told.default)["scalar"]


@pytest.mark.parametrize(
    ("kind", "value", "flyte", "told"),
    [
        ("int", 3, "INTEGER", {"integer": "3"}),
        ("int", -(2**63), "INTEGER", {"integer": str(-(2**63))}),
        ("float", 1, "FLOAT", {"floatValue": 1.0}),
        ("float", 0.5, "FLOAT", {"floatValue": 0.5}),
        ("bool", False, "BOOLEAN", {"boolean": False}),
        ("str", "a b", "STRING", {"stringValue": "a b"}),
        ("str", "", "STRING", {"stringValue": ""}),
        ("json", {"b": [1, None], "a": "é"}, "STRING", {"stringValue": '{"a":"é","b":[1,null]}'}),
        ("json", None, "STRING", {"stringValue": "null"}),
        ("file", ".mf_meta/include/a/b", "STRING", {"stringValue": ".mf_meta/include/a/b"}),
    ],
)
def test_defaults(kind: str, value: Any, flyte: str, told: Any) -> None:
    assert default_of(type=kind, default=value) == ({"simple": flyte}, {"primitive": told})


@pytest.mark.parametrize("has_default", [True, False])
def test_without_a_value_a_parameter_may_be_none(has_default: bool) -> None:
    kind, default = default_of(type="int", default=None, has_default=has_default)
    none = {"simple": "NONE", "structure": {"tag": "none"}}
    variants = [{"simple": "INTEGER", "structure": {"tag": "int"}}, none]
    assert kind == {"unionType": {"variants": variants}}
    assert default == {"union": {"value": {"scalar": {"noneType": {}}}, "type": none}}


def test_a_required_parameter_has_no_default() -> None:
    assert default_of(required=True, has_default=False, default=None) == (TEXT, None)


RATE = parameter(name="learning-rate", variable="rate")


def test_flyte_takes_no_dashes() -> None:
    spec = replace(flow(step(kind="end")), parameters=(RATE,))
    compiled = compile_flow(spec)
    assert "learning_rate" in compiled.tasks["start"].interface.inputs.variables
    assert "learning_rate" in set(workflow_inputs(compiled.workflow.nodes))
    (found,) = parameters_of(compiled.launch_plan.default_inputs)
    assert [found.name, found.variable] == ["learning-rate", "rate"]


def test_a_registered_file_says_how_it_is_read() -> None:
    of_bytes = parameter(name="raw", type="file", is_text=False, default="a")
    of_text = parameter(name="text", type="file", encoding="latin-1", default="b")
    spec = replace(flow(step(kind="end")), parameters=(of_text, of_bytes))
    raw, text = parameters_of(compile_flow(spec).launch_plan.default_inputs)
    assert [raw.type, raw.is_text, raw.encoding] == ["file", False, None]
    assert [text.type, text.is_text, text.encoding] == ["file", True, "latin-1"]


def test_the_start_step_alone_gets_the_parameters(loaded: Load) -> None:
    compiled = compile_flow(loaded("tests/flows/parameters.py"))
    travelling = set(TRAVELLING)
    inputs = {name: set(t.interface.inputs.variables) for name, t in compiled.tasks.items()}
    assert inputs["end"] == travelling
    assert inputs["start"] - travelling == {
        *("whole", "ratio", "text", "flag", "no_default", "needed", "table", "listed"),
        *("chosen", "counted", "named", "included", "raw"),
    }
    assert set(compiled.workflow.interface.inputs.variables) == inputs["start"]
    described = compiled.launch_plan.default_inputs.parameters["whole"].var.description
    assert described == "an int"


def test_what_travels_is_fixed_but_the_run_id(loaded: Load) -> None:
    plan = compile_flow(loaded("tests/flows/linear.py")).launch_plan
    fixed = {n: v.scalar.primitive.string_value for n, v in plan.fixed_inputs.literals.items()}
    assert fixed == {CODE: "", PLAN: "", PERSON: "{}"}
    assert json.loads(fixed[PERSON]) == {}
    run = plan.default_inputs.parameters[RUN]
    assert run.default.scalar.primitive.WhichOneof("value") == "string_value"
    assert run.default.scalar.primitive.string_value == ""
    assert not plan.HasField("entity_metadata")


def test_schedules(loaded: Load) -> None:
    spec = loaded("tests/flows/decorated.py")
    schedule = compile_flow(spec).launch_plan.entity_metadata.schedule
    assert schedule.cron_schedule.schedule == "CRON_TZ=Europe/Berlin 0 0 * * SUN"
    utc = compile_flow(replace(spec, schedule=Schedule("0 10 ? * 2-6 *", None))).launch_plan
    cron = utc.entity_metadata.schedule.cron_schedule
    assert [cron.schedule, cron.offset] == ["CRON_TZ=UTC 0 10 * * 1-5", ""]
