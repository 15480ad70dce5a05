"""Metaflow's Parameters as inputs of a workflow: their types, and the launch plan's defaults."""

from __future__ import annotations

from flyteidl.core.interface_pb2 import Parameter, ParameterMap, Variable
from flyteidl.core.literals_pb2 import Literal
from flyteidl.core.types_pb2 import LiteralType

from mfbuild.engine.model import canonical
from mfbuild.flow.spec import FlowSpec, ParameterSpec
from mfbuild.flyte.literals import BOOLEAN, FLOAT, INTEGER, STRING, literal, none, optional
from mfbuild.flyte.names import RUN, input_name

_TYPES = {"int": INTEGER, "float": FLOAT, "bool": BOOLEAN}


def parameter_types(spec: FlowSpec) -> dict[str, LiteralType]:
    """The inputs of the start step that carry the Parameters; JSON and files are strings."""
    return {input_name(p.name): _type(p) for p in spec.parameters}


def default_inputs(spec: FlowSpec) -> ParameterMap:
    """What an execution may override: every Parameter, and the run id."""
    named = {input_name(p.name): _parameter(p) for p in spec.parameters}
    named[RUN] = Parameter(var=Variable(type=STRING), default=literal(""))
    return ParameterMap(parameters=named)


def _type(parameter: ParameterSpec) -> LiteralType:
    known = _TYPES.get(parameter.type, STRING)
    return optional(known) if _may_be_none(parameter) else known


def _may_be_none(parameter: ParameterSpec) -> bool:
    """JSON has a null of its own; any other type without a value to begin with may be None."""
    if parameter.has_default:
        return parameter.default is None and parameter.type != "json"
    return not parameter.required


def _parameter(parameter: ParameterSpec) -> Parameter:
    variable = Variable(type=_type(parameter), description=parameter.help)
    if parameter.required:
        return Parameter(var=variable, required=True)
    return Parameter(var=variable, default=_default(parameter))


def _default(parameter: ParameterSpec) -> Literal:
    if _may_be_none(parameter):
        return none()
    value = parameter.default
    if parameter.type == "json":
        return literal(canonical(value))
    return literal(float(value) if parameter.type == "float" else value)
