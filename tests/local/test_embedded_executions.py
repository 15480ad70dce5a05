"""Executions of the embedded backend: what was registered runs, as Metaflow itself would run it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flyteidl.core.identifier_pb2 import Identifier, ResourceType

from mfbuild.bundle.read import read_bundle
from mfbuild.errors import FlyteError
from mfbuild.local.record.state import RunInfo, RunState, read_info
from tests.children import wait_until
from tests.e2e.conftest import Runner
from tests.local.compared import artifacts, settings, theirs
from tests.local.pushing import push
from tests.local.registering import backend
from tests.local.starting import Workspace, id_of, workspace

FLOWS = Path(__file__).parents[1] / "flows"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    for name, value in settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    with workspace(tmp_path) as found:
        yield found


FLOW = """
import json, os
from metaflow import FlowSpec, IncludeFile, Parameter, current, get_namespace, step

class Flow(FlowSpec):
    alpha = Parameter("alpha", default=1)
    learning_rate = Parameter("learning-rate", default=0.5)
    word = Parameter("word", type=str)
    data = IncludeFile("data", default="flow.py")

    @step
    def start(self):
        print("alpha", self.alpha, self.learning_rate, self.word)
        self.environment = {n: v for n, v in os.environ.items() if n.startswith("FLYTE_INTERNAL_")}
        self.setting = os.environ.get("METAFLOW_CARD_S3ROOT")
        self.tags, self.namespace = sorted(current.tags), get_namespace()
        self.next(self.end)
    @step
    def end(self):
        print("file", len(self.data))

if __name__ == "__main__":
    Flow()
"""


@pytest.mark.parametrize("shape", ["recursive_in_foreach", "switch_in_branch"])
def test_a_registered_flow_leaves_what_metaflow_leaves(here: Workspace, shape: str) -> None:
    here.push((FLOWS / f"{shape}.py").read_text())
    here.start("r1")
    assert here.wait("r1").phase == "succeeded", here.output("r1")
    own = theirs(here.root / "flow.py", here.root / "theirs")
    assert own.code == 0, own.err
    assert artifacts(here.root, "flyte-r1") == artifacts(here.root / "theirs")
    assert set(here.phases("r1").values()) == {"succeeded"}


def test_what_runs_is_what_was_registered(here: Workspace) -> None:
    plan = here.push(
        FLOW,
        prefix="recsys.test.b1.",
        settings={"METAFLOW_CARD_S3ROOT": "s3://cards"},
        person={"tags": ["nightly"], "user": "grace", "namespace": "production:x"},
    )
    (here.root / "flow.py").write_text("it is gone")
    given = here.root / "given.txt"
    given.write_text("12345")
    here.start("r1", alpha=7, learning_rate=0.25, word="x y", data=str(given))
    assert here.wait("r1").phase == "succeeded", here.output("r1")
    assert here.log("r1", "start") == "alpha 7 0.25 x y\n"
    assert here.log("r1", "end") == "file 5\n"
    (found,) = artifacts(here.root, "flyte-r1")["start"]
    start = json.loads(found)
    assert start["tags"] == "['nightly']"
    assert start["namespace"] == "'production:x'"
    assert start["setting"] == "'s3://cards'"
    for part in (
        "'FLYTE_INTERNAL_EXECUTION_PROJECT': 'local'",
        "'FLYTE_INTERNAL_EXECUTION_DOMAIN': 'staging'",
        "'FLYTE_INTERNAL_EXECUTION_WORKFLOW': 'local:staging:recsys.test.b1.Flow'",
        "'FLYTE_INTERNAL_TASK_NAME': 'recsys.test.b1.Flow.start'",
    ):
        assert part in start["environment"]
    info = read_info(here.root / ".mfbuild/runs/r1")
    assert (info.flow, info.entity, info.prefix) == ("Flow", plan.name, "recsys.test.b1.")
    assert info.parameters == {
        "alpha": "7",
        "learning-rate": "0.25",
        "word": "x y",
        "data": str(given),
    }
    assert here.get("r1").of == plan
    assert here.get("r1").error is None


def test_a_run_id_of_ones_own(here: Workspace) -> None:
    here.push(FLOW)
    with pytest.raises(FlyteError, match="the input `_run` is no JSON"):
        here.start("r0", _run="{")
    here.start("r2", _run='{"id": "flyte-third"}')
    assert here.wait("r2").phase == "succeeded", here.output("r2")
    assert set(artifacts(here.root, "flyte-third")) == {"start", "end"}
    assert read_info(here.root / ".mfbuild/runs/r2").run == "flyte-third"
    here.start("r1", _run="flyte-other")
    assert here.wait("r1").phase == "succeeded", here.output("r1")
    assert set(artifacts(here.root, "flyte-other")) == {"start", "end"}
    assert read_info(here.root / ".mfbuild/runs/r1").run == "flyte-other"


def test_a_single_task_runs_on_an_earlier_run(here: Workspace) -> None:
    plan = here.push(FLOW)
    here.start("r1")
    assert here.wait("r1").phase == "succeeded", here.output("r1")
    registrations = here.backend.registrations
    workflow = registrations.get(
        Identifier(
            resource_type=ResourceType.WORKFLOW,
            project="local",
            domain="staging",
            name="Flow",
            version=plan.version,
        )
    )
    found = registrations.launch_plan(plan)
    assert workflow is not None and found is not None
    end = workflow.template.nodes[1].task_node.reference_id
    fixed = {
        name: value.scalar.primitive.string_value
        for name, value in found.spec.fixed_inputs.literals.items()
    }
    here.start("r2", end, _run="flyte-r1", **fixed)
    assert here.wait("r2").phase == "succeeded", here.output("r2")
    assert here.phases("r2") == {"end": "succeeded"}
    assert here.get("r2").of == end
    assert here.log("r2", "end") == here.log("r1", "end")
    assert [e.id.name for e in here.backend.executions.list("local", "staging")] == ["r2", "r1"]
    of_flow = here.backend.executions.list("local", "staging", "Flow")
    assert [e.id.name for e in of_flow] == ["r1"]
    assert list(here.backend.executions.list("local", "production")) == []


FAILING = """
import os
from metaflow import FlowSpec, current, retry, step

class Flow(FlowSpec):
    @step
    def start(self):
        print("started", current.run_id)
        self.next(self.work)
    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        print("attempt", current.retry_count)
        if not os.path.exists(MENDED):
            raise ValueError("not mended")
        self.next(self.end)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    Flow()
"""


def test_a_failed_execution_is_resumed_with_what_is_registered(
    here: Workspace, mfbuild: Runner
) -> None:
    mended = here.root / "mended"
    here.push(FAILING.replace("MENDED", repr(str(mended))))
    here.start("r1")
    failed = here.wait("r1")
    assert failed.phase == "failed" and failed.error is not None
    assert failed.error.startswith("node `work`: exit code 1\n")
    assert failed.error.endswith("\nValueError: not mended")
    assert here.phases("r1") == {"start": "succeeded", "work": "failed"}
    (work,) = [t for t in here.backend.executions.tasks(id_of("r1")) if t.node == "work"]
    assert (work.task, work.attempt) == ("Flow.work", 1)
    assert f"node `work`: {work.error}" == failed.error
    assert work.logs[0][1].endswith("/r1/nodes/work/1/log")
    assert "ValueError: not mended" in here.log("r1", "work")
    mended.touch()
    (here.root / "flow.py").unlink()
    again = mfbuild("resume", "r1", "other.py", cwd=here.root)
    assert again.code == 2
    assert "error: the run is of the registered `Flow@" in again.err
    again = mfbuild("resume", "r1", cwd=here.root)
    assert again.code == 0, again.err
    assert again.out == "Flow/flyte-r1\n"
    assert here.get("r1").phase == "succeeded"
    assert here.get("r1").error is None
    assert here.phases("r1") == {"start": "succeeded", "work": "succeeded", "end": "succeeded"}
    assert here.log("r1", "start") == "started flyte-r1\n"


def test_wrong_inputs_are_all_told_before_anything_starts(here: Workspace) -> None:
    here.push(FLOW)
    given: dict[str, str | int] = {"alpha": "x", "alpa": 1, "_code": "x"}
    with pytest.raises(FlyteError) as caught:
        here.start("r1", **given)
    version = here.launch_plan.version[:12]
    assert [p.message for p in caught.value.problems] == [
        f"starting the launch plan `local/staging/Flow@{version}`: {problem}"
        for problem in (
            "the input `_code` is fixed",
            "there is no input `alpa`",
            "the input `alpha` has a value of another type",
        )
    ]
    assert not (here.root / ".mfbuild/runs").exists()


@pytest.mark.parametrize("name", ["", "R1", "1r", "r_1", "r1-", "../r1", "r" * 64, "r1\n", "."])
def test_names_that_flyteadmin_refuses_are_refused(here: Workspace, name: str) -> None:
    here.push(FLOW)
    with pytest.raises(FlyteError, match="is no name of an execution"):
        here.start(name)
    assert here.backend.executions.get(id_of(name)) is None


def test_what_is_not_there_cannot_be_started(here: Workspace) -> None:
    plan = here.push(FLOW)
    other = Identifier()
    other.CopyFrom(plan)
    other.version = "0" * 40
    with pytest.raises(FlyteError, match="it is not registered"):
        here.start("r1", other)
    other.resource_type = ResourceType.WORKFLOW
    with pytest.raises(FlyteError, match="it is no launch plan and no task"):
        here.start("r1", other)
    for kept in (here.root / ".mfbuild/flyte/bundles").glob("Flow-*"):
        kept.rename(kept.with_name("elsewhere"))
    with pytest.raises(FlyteError, match=r"the images of the launch plan .* are not kept here"):
        here.start("r1")
    for call in (here.backend.executions.tasks, here.backend.logs):
        with pytest.raises(FlyteError, match="there is no execution `r1` in local/staging"):
            list(call(id_of("r1")))


def test_code_that_is_gone_fails_the_run_with_a_reason(here: Workspace) -> None:
    here.push(FLOW)
    for blob in (here.root / ".mfbuild/flyte/blobs").iterdir():
        blob.unlink()
    here.start("r1")
    failed = here.wait("r1")
    assert (failed.phase, failed.error) == ("failed", "the code of the run is gone")
    wait_until(lambda: "error: the code of the run is gone" in here.output("r1"))


def test_runs_of_no_registered_flow_are_seen_as_well(here: Workspace, mfbuild: Runner) -> None:
    (here.root / "flow.py").write_text(FLOW)
    done = mfbuild("run", "flow.py", "--in", "host", cwd=here.root)
    assert done.code == 0, done.err
    (execution,) = here.backend.executions.list("local", "local")
    assert (execution.phase, execution.of.name) == ("succeeded", "Flow")
    tasks = here.backend.executions.tasks(execution.id)
    assert [(t.node, t.phase) for t in tasks] == [("start", "succeeded"), ("end", "succeeded")]


def test_a_record_of_before_is_read(here: Workspace) -> None:
    runs = here.root / ".mfbuild/runs"
    old = RunInfo("r0", "Flow", "flyte-r0", "/flow.py", "v", "host", 1.0, phase="interrupted")
    with RunState.create(runs, old):
        pass
    record = json.loads((runs / "r0/run.json").read_text())
    for name in ("project", "domain", "entity", "prefix", "owner", "here", "sha256"):
        del record[name]
    record |= {"format": 1, "place": record.pop("sandbox")}
    (runs / "r0/run.json").write_text(json.dumps(record))
    line = '{"node": "a.b", "attempt": 0, "phase": "running", "task": "Flow.b"}\n'
    (runs / "r0/journal").write_text(line)
    assert read_info(runs / "r0") == old
    (execution,) = here.backend.executions.list("local", "local")
    assert (execution.phase, execution.error) == ("aborted", "interrupted")
    (task,) = here.backend.executions.tasks(execution.id)
    assert (task.node, task.phase, task.began, task.logs) == ("a/b", "aborted", None, ())


def test_steps_run_in_the_images_of_the_kept_bundle(here: Workspace, mfbuild: Runner) -> None:
    (here.root / "flow.py").write_text(
        FLOW.replace('print("file"', 'print(os.sys.executable, "file"')
    )
    (made,) = mfbuild.package("flow.py", "--platform", "linux/amd64", cwd=here.root)
    here.backend = backend(here.root, sandbox=None)
    here.launch_plan = push(read_bundle(Path(made["path"])), here.backend).launch_plan_id
    here.start("r1")
    assert here.wait("r1").phase == "succeeded", here.output("r1")
    assert here.log("r1", "end").startswith("/opt/venv/bin/python file ")
