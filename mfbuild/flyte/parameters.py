"""Metaflow's Parameters as inputs of a workflow: their types, and the launch plan's defaults.

Flyte's types say less than Metaflow's, and its names have no `-`: so each type is annotated with
what the Parameter is. Flyte ignores annotations when it compares types.
"""

from __future__ import annotations

from flyteidl.core.interface_pb2 import Parameter, ParameterMap, Variable
from flyteidl.core.literals_pb2 import Literal
from flyteidl.core.types_pb2 import LiteralType, TypeAnnotation
from google.protobuf.json_format import MessageToDict

from mfbuild.engine.model import canonical
from mfbuild.flow.spec import FlowSpec, ParameterSpec
from mfbuild.flyte.literals import BOOLEAN, FLOAT, INTEGER, STRING, literal, none, optional
from mfbuild.flyte.names import RUN
from mfbuild.runtime.inputs import input_name

_ANNOTATION = "metaflow"
_TYPES = {"int": INTEGER, "float": FLOAT, "bool": BOOLEAN}


def parameter_types(spec: FlowSpec) -> dict[str, LiteralType]:
    """The inputs of the start step that carry the Parameters; JSON and files are strings."""
    return {input_name(p.name): _type(p) for p in spec.parameters}


def default_inputs(spec: FlowSpec) -> ParameterMap:
    """What an execution may override: every Parameter, and the run id."""
    named = {input_name(p.name): _parameter(p) for p in spec.parameters}
    named[RUN] = Parameter(var=Variable(type=STRING), default=literal(""))
    return ParameterMap(parameters=named)


def parameters_of(inputs: ParameterMap) -> tuple[ParameterSpec, ...]:
    """The Parameters of a flow, from the `default_inputs` of its registered launch plan, by name.

    Their defaults are not read: whoever starts the launch plan leaves them to Flyte.
    """
    found = []
    for parameter in inputs.parameters.values():
        if said := MessageToDict(parameter.var.type.annotation.annotations).get(_ANNOTATION):
            found.append(
                ParameterSpec(
                    name=said["name"],
                    variable=said.get("variable", input_name(said["name"])),
                    type=said["type"],
                    required=parameter.required,
                    has_default=not parameter.required,
                    default=None,
                    deploy_time=False,
                    help=parameter.var.description,
                    separator=None,
                    is_text=said.get("is_text", True),
                    encoding=said.get("encoding"),
                )
            )
    return tuple(sorted(found, key=lambda parameter: parameter.name))


def _type(parameter: ParameterSpec) -> LiteralType:
    known = _TYPES.get(parameter.type, STRING)
    type_ = LiteralType()
    type_.CopyFrom(optional(known) if _may_be_none(parameter) else known)
    type_.annotation.CopyFrom(_annotation(parameter))
    return type_


def _annotation(parameter: ParameterSpec) -> TypeAnnotation:
    said: dict[str, str | bool | None] = {
        "name": parameter.name,
        "variable": parameter.variable,
        "type": parameter.type,
    }
    if parameter.type == "file":
        said |= {"is_text": parameter.is_text, "encoding": parameter.encoding}
    found = TypeAnnotation()
    found.annotations.update({_ANNOTATION: said})
    return found


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
