"""What the loader finds in real flows: the graph, decorators, parameters, Config."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from mfbuild.errors import FlowError
from mfbuild.flow import codec
from mfbuild.flow.spec import (
    Catch,
    FlowSpec,
    ParameterSpec,
    Project,
    Resources,
    Retry,
    Schedule,
    StepSpec,
)
from tests.flow.loading import Loader

FLOWS = Path(__file__).parent.parent / "flows"


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, FlowSpec]]:
    """Every flow of tests/flows by name of its file; two are loaded at a time."""
    base = tmp_path_factory.mktemp("flows")
    workspace = Path(shutil.copytree(FLOWS, base / "workspace"))
    loader = Loader(workspace, base / "cache")
    names = sorted(path.name for path in FLOWS.glob("*.py") if path.name != "inherited_base.py")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.chdir(workspace)
        loaded = pool.map(loader, names)
        yield {name[:-3]: result.spec for name, result in zip(names, loaded, strict=True)}


def step(spec: FlowSpec, name: str) -> StepSpec:
    return next(s for s in spec.steps if s.name == name)


def graph(spec: FlowSpec) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {s.name: (s.type, s.next) for s in spec.steps}


def test_a_linear_flow(flows: Mapping[str, FlowSpec]) -> None:
    spec = flows["linear"]
    assert (spec.name, spec.file, spec.line, spec.doc) == (
        "LinearFlow",
        "linear.py",
        4,
        "Two steps.",
    )
    assert (spec.start, spec.end) == ("start", "end")
    assert graph(spec) == {"start": ("start", ("end",)), "end": ("end", ())}
    assert (step(spec, "start").line, step(spec, "start").doc) == (8, "Begin.")
    assert step(spec, "start").file is None
    assert spec.host.python == ".".join(map(str, sys.version_info[:2]))


def test_a_flow_of_one_step(flows: Mapping[str, FlowSpec]) -> None:
    assert graph(flows["single"]) == {"only": ("end", ())}
    assert (flows["single"].start, flows["single"].end) == ("only", "only")


def test_start_and_end_may_have_any_name(flows: Mapping[str, FlowSpec]) -> None:
    assert (flows["named"].start, flows["named"].end) == ("begin", "finish")


def test_branches_know_their_join(flows: Mapping[str, FlowSpec]) -> None:
    spec = flows["nested_branch"]
    assert step(spec, "start").type == "split"
    assert step(spec, "start").matching_join == "join"
    assert step(spec, "left").matching_join == "left_join"
    assert step(spec, "left_a").split_parents == ("start", "left")


def test_foreach(flows: Mapping[str, FlowSpec]) -> None:
    spec = flows["nested_foreach"]
    assert (step(spec, "start").type, step(spec, "start").foreach) == ("foreach", "rows")
    assert step(spec, "outer").foreach == "columns"
    assert step(spec, "inner").split_parents == ("start", "outer")
    assert [s.name for s in flows["long_foreach"].steps][1:4] == ["first", "second", "join"]


def test_switches(flows: Mapping[str, FlowSpec]) -> None:
    start = step(flows["switch"], "start")
    assert (start.type, start.switch_condition) == ("split-switch", "way")
    assert start.switch_cases == {"fast": "fast", "careful": "careful"}
    loop = step(flows["recursive_switch"], "loop")
    assert loop.next == ("loop", "end")
    assert step(flows["switch_in_foreach"], "choose").split_parents == ("start",)


def test_gangs_are_told(flows: Mapping[str, FlowSpec]) -> None:
    assert [s.name for s in flows["gang"].steps if s.parallel] == ["start", "train"]


def test_an_inherited_step_has_the_file_of_its_class(flows: Mapping[str, FlowSpec]) -> None:
    spec = flows["inherited"]
    assert (step(spec, "start").file, step(spec, "start").line) == ("inherited_base.py", 6)
    assert step(spec, "end").file is None


def test_decorators(flows: Mapping[str, FlowSpec]) -> None:
    spec = flows["decorated"]
    start = step(spec, "start")
    assert start.python == "3.11"
    assert start.packages == {"requests": ">=2", "numpy": "2.0.0", "torch": ""}
    assert start.resources == Resources(cpu=4.0, memory=8000, disk=20000, gpu=1)
    assert start.image == "registry.example.com/base:1"
    assert start.kubernetes == {"labels": {"team": "ml"}}
    assert start.environment == {"MODE": "test", "LEVEL": "3", "NONE": "None"}
    assert start.secrets == ("aws-secrets-manager.db", {"type": "az-key-vault", "id": "key"})
    assert start.retry == Retry(2, 0.5)
    assert start.timeout_seconds == 3723
    assert spec.schedule == Schedule("0 0 ? * SUN *", "Europe/Berlin")
    assert spec.project == Project("mlteam")
    assert [d.name for d in spec.decorators] == ["pypi_base", "schedule", "project"]


def test_a_disabled_pypi_and_what_metaflow_attaches(flows: Mapping[str, FlowSpec]) -> None:
    spec = flows["decorated"]
    middle, end = step(spec, "middle"), step(spec, "end")
    assert (middle.python, middle.packages) == (None, {})
    assert middle.catch == Catch("failure", False)
    assert end.packages == {"requests": ">=2", "numpy": "1.26.4"}
    assert end.resources == Resources(cpu=1.0, memory=501)
    assert {d.name: d.explicit for d in end.decorators} == {"resources": True, "pypi": False}


def test_config_and_mutators_are_applied(flows: Mapping[str, FlowSpec]) -> None:
    spec = flows["configured"]
    settings = {"packages": {"polars": "1.9.0"}, "cpu": 3, "python": "3.12"}
    assert spec.configs == {"settings": settings, "plain": "ml"}
    assert all(s.python == "3.12" and s.packages == {"polars": "1.9.0"} for s in spec.steps)
    assert all(s.retry == Retry(1, 2.0) for s in spec.steps)
    assert step(spec, "start").resources.cpu == 3.0
    assert step(spec, "end").environment == {"ADDED": "1"}
    assert [p.default for p in spec.parameters] == [3]
    config = next(f for f in spec.code if f.arcname == ".mf_meta/CONFIG")
    assert json.loads(config.text or "")["user_configs"]["settings"][0] == settings


def test_parameters(flows: Mapping[str, FlowSpec]) -> None:
    parameters = {p.name: p for p in flows["parameters"].parameters}

    def facts(p: ParameterSpec) -> tuple[str, bool, bool, object, bool]:
        return p.type, p.required, p.has_default, p.default, p.deploy_time

    assert {name: facts(p) for name, p in parameters.items()} == {
        "whole": ("int", False, True, 3, False),
        "ratio": ("float", False, True, 1.0, False),
        "text": ("str", False, True, "a b", False),
        "flag": ("bool", False, True, True, False),
        "no-default": ("int", False, False, None, False),
        "needed": ("str", True, False, None, False),
        "table": ("json", False, True, {"a": [1, None]}, False),
        "listed": ("str", False, True, "a,b", False),
        "chosen": ("str", False, True, "b", False),
        "counted": ("int", False, True, 14, True),
        "named": ("json", False, True, ["deploy", "named"], True),
        "included": ("file", False, True, ".mf_meta/include/included/data.txt", False),
        "raw": ("file", False, False, None, False),
    }
    assert parameters["no-default"].variable == "no_default"
    assert parameters["whole"].help == "an int"
    assert parameters["listed"].separator == ","
    assert (parameters["raw"].is_text, parameters["included"].encoding) == (False, "utf-8")
    shipped = next(f for f in flows["parameters"].code if "include/included" in f.arcname)
    assert shipped.path is not None and Path(shipped.path).read_text() == "some data\n"


def test_the_host_pins_what_is_installed(flows: Mapping[str, FlowSpec]) -> None:
    host = flows["decorated"].host
    versions = {name: metadata.version(name) for name in ("metaflow", "boto3", "requests")}
    pins = {f"{name}=={version}" for name, version in versions.items()}
    assert set(host.requirements) == {*pins, "azure-keyvault-secrets"}
    assert (host.metaflow_version, host.datastore) == (versions["metaflow"], "local")
    assert host.sources == ()
    assert "boto3" not in "".join(flows["linear"].host.requirements)


def test_json_gives_every_flow_back(flows: Mapping[str, FlowSpec]) -> None:
    assert len(flows) >= 20
    for spec in flows.values():
        assert codec.from_json(json.loads(json.dumps(codec.to_json(spec)))) == spec


def test_a_bundle_learns_no_path_of_this_machine(flows: Mapping[str, FlowSpec]) -> None:
    for spec in flows.values():
        workspace = str(Path(spec.code[-1].path or "").parent)
        assert workspace in json.dumps(codec.to_json(spec))
        assert workspace not in json.dumps(codec.public_json(spec))


def test_every_tutorial_of_metaflow_loads_except_the_one_with_conda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tutorials = Path(str(metadata.distribution("metaflow").locate_file("metaflow/tutorials")))
    monkeypatch.chdir(tmp_path)

    def outcome(path: Path) -> str:
        try:
            return Loader(path.parent, tmp_path)(path.name).spec.name
        except FlowError as error:
            return "; ".join(f"{p.where} {p.message}" for p in error.problems)

    paths = sorted(tutorials.glob("*/*.py"))
    with ThreadPoolExecutor(2) as pool:
        outcomes = dict(zip((p.parent.name for p in paths), pool.map(outcome, paths), strict=True))
    refused = outcomes.pop("04-playlist-plus")
    assert "playlist.py:80 @conda of step `bonus_movie` is not supported" in refused
    assert all(name.isidentifier() for name in outcomes.values())
    assert len(outcomes) >= 5


def test_a_step_wins_over_the_base_in_whatever_spelling(tmp_path: Path) -> None:
    """PEP 503: `PyCase` and `pycase` are one package; what a step says twice stays wrong."""
    loader = Loader(tmp_path, tmp_path / "cache")
    (tmp_path / "flow.py").write_text(SPELLED)
    steps = {s.name: s.packages for s in loader().spec.steps}
    assert steps == {
        "start": {"pycase": "2.0", "other": "1"},
        "end": {"PyCase": "1.0", "other": "1", "a.b": "1", "a-b": "2"},
    }


SPELLED = """
from metaflow import FlowSpec, pypi, pypi_base, step


@pypi_base(packages={"PyCase": "1.0", "other": "1"})
class F(FlowSpec):
    @pypi(packages={"pycase": "2.0"})
    @step
    def start(self):
        self.next(self.end)

    @pypi(packages={"a.b": "1", "a-b": "2"})
    @step
    def end(self):
        pass


if __name__ == "__main__":
    F()
"""
