"""FlowSpec: one Metaflow flow as frozen data, with everything that its steps require."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

NodeType = Literal["start", "linear", "split", "foreach", "split-switch", "join", "end"]


@dataclass(frozen=True, slots=True)
class DecoratorSpec:
    """A decorator as Metaflow resolved it (Config, mutators and `*_base` already applied).

    `attributes` are JSON values; `explicit` is false for what Metaflow attached by itself.
    """

    name: str
    attributes: Mapping[str, Any]
    explicit: bool


@dataclass(frozen=True, slots=True)
class Resources:
    """What @resources and @kubernetes ask for, the larger of both, in Metaflow's units.

    cpu in cores, memory, disk and shared_memory in MiB, gpu in devices; None = not asked for.
    """

    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    gpu: int | None = None
    shared_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """@retry: `times` more attempts, with `minutes_between_retries` of delay."""

    times: int
    minutes_between_retries: float


@dataclass(frozen=True, slots=True)
class Catch:
    """@catch: the artifact name that receives the exception, if any."""

    var: str | None
    print_exception: bool


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step: its place in the graph and what it needs to run.

    `python` and `packages` come from @pypi (package name -> PEP 440 specifier or exact version,
    "" for any). `line` is where the step's `def` stands in the flow file, or in `file` (relative to
    the workspace) for a step that the flow inherits from a class of another file.
    """

    name: str
    type: NodeType
    line: int
    doc: str
    next: tuple[str, ...]
    switch_condition: str | None
    switch_cases: Mapping[str, str]
    foreach: str | None
    parallel: bool
    matching_join: str | None
    split_parents: tuple[str, ...]
    python: str | None
    packages: Mapping[str, str]
    resources: Resources
    image: str | None
    kubernetes: Mapping[str, Any]
    environment: Mapping[str, str]
    secrets: tuple[Any, ...]
    retry: Retry | None
    catch: Catch | None
    timeout_seconds: int | None
    decorators: tuple[DecoratorSpec, ...]
    file: str | None = None


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A Parameter: `type` is int, float, str, bool, json or file (IncludeFile).

    `default` is the value as JSON, evaluated once when it was a deploy-time function
    (`deploy_time` is then true); `has_default` tells None from no default. For an IncludeFile
    the default is the path of the shipped file inside the code tarball.
    """

    name: str
    variable: str
    type: str
    required: bool
    has_default: bool
    default: Any
    deploy_time: bool
    help: str
    separator: str | None
    is_text: bool
    encoding: str | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """@schedule: the cron expression that Metaflow derived (AWS style) and its timezone."""

    cron: str
    timezone: str | None


@dataclass(frozen=True, slots=True)
class Project:
    """@project: the project name only; branch and production belong to a push, not to a flow."""

    name: str


@dataclass(frozen=True, slots=True)
class Destination:
    """@flyte of a flow: where in Flyte it goes, None where the decorator does not say."""

    project: str | None
    domain: str | None


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file of the code tarball: its name in the archive, and its absolute path here.

    Exactly one of `path` and `text` is set; `text` is generated content.
    """

    arcname: str
    path: str | None
    text: str | None
    executable: bool

    def __post_init__(self) -> None:
        if (self.path is None) == (self.text is None):
            raise ValueError(f"`{self.arcname}` needs exactly one of path and text")


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A package of every environment that is not installed from a wheel (editable, PYTHONPATH).

    `files` are its module files: `arcname` is relative to site-packages.
    """

    name: str
    files: tuple[CodeFile, ...]


@dataclass(frozen=True, slots=True)
class Host:
    """What every environment of the flow carries from the interpreter that loaded it.

    `requirements` are exact pins (`metaflow==2.19.39`, installed extensions, what the datastore
    needs; a bare name where the user has none installed); `sources` are those packages that have
    no wheel. `python` is the loading interpreter's `major.minor`.
    """

    python: str
    metaflow_version: str
    datastore: str
    requirements: tuple[str, ...]
    sources: tuple[SourcePackage, ...]


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """A whole flow. `file` is relative to the workspace root, with `/`.

    `steps` is in topological order as Metaflow sorts its graph; `configs` maps each Config
    parameter to its resolved value. `flyte` is no part of a version, and in no bundle.
    """

    name: str
    file: str
    line: int
    doc: str
    start: str
    end: str
    steps: tuple[StepSpec, ...]
    parameters: tuple[ParameterSpec, ...]
    configs: Mapping[str, Any]
    schedule: Schedule | None
    project: Project | None
    flyte: Destination | None
    decorators: tuple[DecoratorSpec, ...]
    code: tuple[CodeFile, ...]
    host: Host
