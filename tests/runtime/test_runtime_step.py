"""What a step carries: parameters, Config, code, tags, secrets, and what it writes for Flyte."""

from __future__ import annotations

import hashlib
import json
import math
from base64 import b64encode
from pathlib import Path

import pytest
from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from flyteidl.core.errors_pb2 import ContainerError
from flyteidl.core.workflow_pb2 import Node

from tests.runtime.containers import FLOWS, RUN, Containers, packaged, tarball, task

CARRYING = """
import os
from metaflow import FlowSpec, Parameter, card, current, kubernetes, project, secrets, step


@project(name="team")
class Carrying(FlowSpec):
    needed = Parameter("needed", required=True)

    @card
    @kubernetes(cpu=2)
    @secrets(sources=["flyte.db/PASSWORD", {"type": "flyte", "id": "db/USER"}])
    @step
    def start(self):
        self.secret = os.environ["PASSWORD"]
        self.branch = current.branch_name
        self.items = list(range(int(os.environ.get("ITEMS", 2))))
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Carrying()
"""


def test_parameters_arrive_as_they_were_given(tmp_path: Path) -> None:
    flow = FLOWS / "parameters.py"
    containers = Containers(tmp_path / "run", flow.name, packaged(flow, tmp_path / "cache"))
    (tmp_path / "given.bin").write_bytes(b"\0\xff")
    given = containers.inputs(
        {
            "whole": -(2**40),
            "ratio": 0.1,
            "text": "--leading\n=and 'quoted' \N{SNOWMAN}",
            "flag": False,
            "no_default": None,
            "needed": "",
            "table": '{"b": [-1.5e300, null]}',
            "listed": "x,y z",
            "chosen": "a",
            "counted": 14,
            "named": "[1]",
            "included": ".mf_meta/include/included/data.txt",
            "raw": str(tmp_path / "given.bin"),
            "_code": "not a parameter",
        }
    )
    code, _, err = containers.run(f"start {given}")
    assert code == 0, err
    names = "whole ratio text flag no_default needed table listed chosen counted named included"
    data = "run['start'].task.data"
    values = ", ".join(f"{data}.{name}" for name in names.split())
    assert containers.client(f"[{values}, {data}.raw.hex()]") == [
        *(-(2**40), 0.1, "--leading\n=and 'quoted' \N{SNOWMAN}", False, None, ""),
        *({"b": [-1.5e300, None]}, ["x", "y z"], "a", 14, [1]),
        (FLOWS / "data.txt").read_text(),
        "00ff",
    ]


def test_a_parameter_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in FLOWS.iterdir() if p.is_file()}
    containers = Containers(tmp_path, "parameters.py", tarball(files))
    given = containers.inputs({"needed": "x", "whole": math.pi})
    code, _, err = containers.run(f"start {given}")
    assert code != 0
    assert "whole" in err and "3.14" in err


def test_configs_and_packaged_metadata_are_found(tmp_path: Path) -> None:
    flow = FLOWS / "configured.py"
    containers = Containers(tmp_path / "run", flow.name, packaged(flow, tmp_path / "cache"))
    for step in ("start", "end"):
        code, _, err = containers.run(step)
        assert code == 0, err
    settings = json.loads((FLOWS / "settings.json").read_text())
    assert containers.client(
        "[run['end'].task.data.cpu, run['start'].task.data.settings, run.code.flowspec.decode(),"
        " sorted(run.code.info), 'project:ml' in run.system_tags]"
    ) == [
        settings["cpu"],
        settings,
        flow.read_text(),
        ["environment_type", "metaflow_version", "script", "use_r"],
        True,
    ]


def test_a_person_and_flytes_secrets_reach_the_step(tmp_path: Path) -> None:
    containers = Containers(tmp_path, "flow.py", tarball({"flow.py": CARRYING.encode()}))
    person = {"tags": ["a", "b:c"], "user": "ada", "branch": "exp", "namespace": "user:ada"}
    given = containers.inputs({"needed": "x"})
    code, _, err = containers.run(f"start {given} --person '{json.dumps(person)}'", PASSWORD="p")
    assert code == 0, err
    assert containers.client(
        "[run['start'].task.data.secret, run['start'].task.data.branch, sorted(run.user_tags),"
        " 'user:ada' in run.system_tags, 'runtime:flyte' in run.system_tags]"
    ) == ["p", "test.exp", ["a", "b:c"], True, True]


def test_the_frames_of_a_foreach_are_stored_as_metaflow_stores_them(tmp_path: Path) -> None:
    containers = Containers(tmp_path, "flow.py", tarball({"flow.py": CARRYING.encode()}))
    given = containers.inputs({"needed": "x"})
    assert containers.run(f"start {given}", PASSWORD="p")[0] == 0
    code, _, err = containers.run("body --split 1")
    assert code == 0, err
    assert containers.client("run['body'].task['_foreach_stack'].data") == [
        ["body", "items", 2, 1, "1"]
    ]


def test_a_dynamic_step_writes_futures_and_no_outputs(tmp_path: Path) -> None:
    containers = Containers(tmp_path, "flow.py", tarball({"flow.py": CARRYING.encode()}))
    expansion = {
        "id": "body",
        "node": b64encode(Node().SerializeToString()).decode(),
        "inputs": {"_code": "same", "_path": "split"},
        "tasks": [],
        "workflows": [],
    }
    steps = {"start": {"foreach": expansion}}
    plan = json.dumps({"format": 1, "flow": "F", "steps": steps, "tasks": {}, "workflows": {}})
    (tmp_path / "plan").write_text(plan)
    address = f"file://{tmp_path}/plan#sha256={hashlib.sha256(plan.encode()).hexdigest()}"
    given = containers.inputs({"needed": "x", "_code": "the code"})
    start = f"start {given} --plan {address}"
    code, _, err = containers.run(start, PASSWORD="p")
    assert code == 0, err
    found = [path.name for path in containers.output(start).iterdir()]
    assert found == ["futures.pb"]
    job = DynamicJobSpec.FromString((containers.output(start) / "futures.pb").read_bytes())
    assert [node.id for node in job.nodes] == ["body-0", "body-1"]
    assert job.nodes[1].inputs[0].binding.scalar.primitive.string_value == "the code"

    code, _, err = containers.run(
        start, attempt=1, PASSWORD="p", ITEMS="900", MFBUILD_MAX_FUTURES_MB="0.01"
    )
    assert code == 0
    assert "step `start` starts 900 tasks at once" in err
    error = containers.error(start).error
    assert (error.code, error.kind) == ("TooManySplits", ContainerError.NON_RECOVERABLE)


def test_code_that_was_tampered_with_never_runs(tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in FLOWS.glob("*.py")}
    containers = Containers(tmp_path, "linear.py", tarball(files))
    files["linear.py"] += b"print('tampered')\n"
    (tmp_path / "code.tgz").write_bytes(tarball(files))
    code, out, err = containers.run("start")
    assert (code, out) == (0, "")
    assert err.startswith(f"error: `{tmp_path}/code.tgz` has the sha256 ")
    error = containers.error("start").error
    assert (error.code, error.kind) == ("WrongDigest", ContainerError.NON_RECOVERABLE)
    assert error.message in err
    (tmp_path / "code.tgz").unlink()
    code, _, err = containers.run("end")
    assert code == 1
    assert err == (
        f"error: `{tmp_path}/code.tgz` cannot be read: FileNotFoundError: [Errno 2] No such file"
        f" or directory: '{tmp_path}/code.tgz'\n"
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\n", "error: the flow file starts no flow\n"),
        (
            "import nothing_like_it\n",
            "ModuleNotFoundError: No module named 'nothing_like_it'\nhint: a step's image has",
        ),
        ("def f(:\n", "SyntaxError: "),
    ],
)
def test_a_flow_file_that_is_none_fails(source: str, said: str, tmp_path: Path) -> None:
    containers = Containers(tmp_path, "flow.py", tarball({"flow.py": source.encode()}))
    code, _, err = containers.run("start")
    assert code == 1
    assert said in err


@pytest.mark.parametrize("way", ["sys.exit(0)", "os._exit(0)"])
def test_a_step_that_ends_its_process_has_failed(way: str, tmp_path: Path) -> None:
    flow = (FLOWS / "single.py").read_text().replace("self.answer = 42", f"import os, sys; {way}")
    containers = Containers(tmp_path, "flow.py", tarball({"flow.py": flow.encode()}))
    code, _, err = containers.run("only")
    said = "error: the step has ended its own process: let it return instead of sys.exit()\n"
    assert (code, err) == (1, said)
    assert containers.client("run['only'].task.stderr") == err


def test_a_step_that_does_not_go_on_as_it_said_ends_the_run(tmp_path: Path) -> None:
    flow = (FLOWS / "linear.py").read_text().replace("self.value = 1", "return")
    containers = Containers(tmp_path, "flow.py", tarball({"flow.py": flow.encode()}))
    code, _, err = containers.run("start")
    assert code == 0
    assert err.startswith(
        "error: step `start` was to go on with `end`, but has called self.next with nothing: "
    )
    assert containers.error("start").error.code == "WrongTransition"


def test_a_step_without_a_parent_says_so(tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in FLOWS.glob("*.py")}
    containers = Containers(tmp_path, "switch.py", tarball(files))
    code, _, err = containers.run("merge")
    assert code == 1
    assert err == (
        f"error: step `merge` has no parent: {RUN}/start/{task('start')} "
        "is not done in the datastore\n"
    )


def test_a_flow_may_set_up_metaflow_itself(tmp_path: Path) -> None:
    flow = (FLOWS / "single.py").read_text()
    root = f"os.environ['METAFLOW_DATASTORE_SYSROOT_LOCAL'] = {str(tmp_path / 'own')!r}\n"
    containers = Containers(
        tmp_path, "flow.py", tarball({"flow.py": f"import os\n{root}{flow}".encode()})
    )
    (tmp_path / "own").mkdir()
    code, _, err = containers.run("only")
    assert code == 0, err
    assert (tmp_path / f"own/.metaflow/SingleFlow/{RUN}/only/{task('only')}").is_dir()
    assert not (tmp_path / ".metaflow").exists()


def test_wrong_usage_is_told_from_a_failure(tmp_path: Path) -> None:
    containers = Containers(tmp_path, "flow.py", b"")
    code, _, err = containers.run("start --cod x")
    assert (code, err) == (
        2,
        "error: `--cod` is not an option with a value, or the step is missing\n",
    )
