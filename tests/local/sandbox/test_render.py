from __future__ import annotations

import pytest
from flyteidl.core.literals_pb2 import Literal
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.errors import RunError
from mfbuild.local.sandbox.render import as_text, go_float, render
from tests.local.workflows import number, numbers, text

PLACES = {"input": "/in", "inputprefix": "/p", "outputprefix": "/out", "namespace": "p-d"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.input}}", "/in"),
        ("{{ .Input }}", "/in"),
        ("{{$INPUTPREFIX}}", "/p"),
        ("a{{.outputPrefix}}b{{.namespace}}", "a/outbp-d"),
        ("{{.inputs.x}}", "7"),
        ("{{.Inputs.x}}", "7"),
        ("{{.unknown}}", "{{.unknown}}"),
        ("{{input}}", "{{input}}"),
        ("{.input}", "{.input}"),
    ],
)
def test_templates(template: str, expected: str) -> None:
    assert render([template], PLACES, {"x": number(7)}) == (expected,)


def test_a_missing_input_is_an_error() -> None:
    with pytest.raises(RunError, match="names no input"):
        render(["{{.inputs.y}}"], PLACES, {"x": number(7)})


@given(st.text())
def test_nothing_in_a_value_is_taken_for_a_template(value: str) -> None:
    value += "{{.input}}{{.inputs.x}}"
    assert render(["{{.inputs.x}}"], PLACES, {"x": text(value)}) == (value,)


def test_literals_as_text() -> None:
    truth = Literal()
    truth.scalar.primitive.boolean = True
    union = Literal()
    union.scalar.union.value.CopyFrom(number(4))
    assert as_text(truth) == "true"
    assert as_text(union) == "4"
    assert as_text(numbers([1, 2])) == "[1,2]"
    with pytest.raises(RunError, match="kind `none_type`"):
        nothing = Literal()
        nothing.scalar.none_type.SetInParent()
        as_text(nothing)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (100000.0, "100000"),
        (1000000.0, "1e+06"),
        (123456789.0, "1.23456789e+08"),
        (1e22, "1e+22"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (-2.5, "-2.5"),
        (0.0, "0"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_floats_are_printed_as_go_does(value: float, expected: str) -> None:
    assert go_float(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_their_value(value: float) -> None:
    assert float(go_float(value)) == value
