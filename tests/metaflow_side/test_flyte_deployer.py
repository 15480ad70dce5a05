"""The Deployer API: deployed, triggered and found again, also without the flow's file."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.metaflow_side.flows import Metaflow, hello, succeed

SCRIPT = """
import json, sys
from metaflow import DeployedFlow, Deployer, Run, Runner

flow, told = sys.argv[1], []
deployed = Deployer(flow, show_output=False).flyte(domain="staging").create(tags=["mine"])
told.append([deployed.name, deployed.flow_name])
run = deployed.trigger(who="you")
told.append(run.pathspec.split("/")[0])
run.wait_for_run(check_interval=1, timeout=120)
run.wait_for_completion(check_interval=1, timeout=120)
told += [run.status, run.is_running, run.run["end"].task.data.greeting, "mine" in run.run.tags]
told.append(run.terminate())
again = deployed.resume(origin_run_id=run.pathspec, step="end")
again.wait_for_completion(check_interval=1, timeout=120)
told += [again.status, again.run["start"].task.origin_pathspec.split("/")[1]]
told.append(again.run["start"].task.origin_pathspec.split("/")[1] == run.pathspec.split("/")[1])
del told[-2]
with Runner(flow, show_output=False).run(who="local") as local:
    told.append([local.status, local.run.data.greeting])
told.append(deployed.delete())
print(json.dumps(told))
"""


def script(metaflow: Metaflow, code: str, *words: str) -> str:
    """What a script prints that runs in a folder of its own."""
    folder = metaflow.root / "scripts"
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(code)
    return succeed(replace(metaflow, cwd=folder).python("script.py", *words)).out


def test_a_flow_is_deployed_and_run(metaflow: Metaflow, tmp_path: Path) -> None:
    flow = hello(tmp_path / "flows/flow.py")
    told = script(metaflow, SCRIPT, str(flow))
    assert told == (
        '[["Hello", "Hello"], "Hello", "Succeeded", false, "hello, you", true, true, '
        '"Succeeded", true, ["successful", "hello, local"], true]\n'
    )
    assert [p.name for p in (tmp_path / "scripts").iterdir()] == ["script.py"]


def test_a_flow_that_cannot_be_deployed(metaflow: Metaflow, tmp_path: Path) -> None:
    flow = hello(tmp_path / "flows/flow.py", "@trigger(event='x')")
    code = """
import sys
from metaflow import Deployer
try:
    Deployer(sys.argv[1], show_output=False).flyte().create()
except Exception as error:
    print(type(error).__name__, error)
"""
    assert "Error" in script(metaflow, code, str(flow))


FOUND = """
import json, os, sys
from metaflow import DeployedFlow

os.chdir(sys.argv[1])
told = [sorted(f.name for f in DeployedFlow.list_deployed_flows(impl="flyte"))]
told.append([f.flow_name for f in DeployedFlow.list_flyte(flow_name="Other")])
deployed = DeployedFlow.from_deployment(sys.argv[2], impl="flyte")
told.append([deployed.name, deployed.flow_name, type(deployed).__name__])
run = deployed.trigger(**json.loads(sys.argv[3]))
run.wait_for_completion(check_interval=1, timeout=120)
told += [run.status, run.run["start"].task.data.seen]
same = DeployedFlow.get_triggered_flyte_run(sys.argv[2], run.pathspec.split("/")[1])
told += [same.status, same.pathspec == run.pathspec]
again = deployed.resume(run.pathspec)
again.wait_for_completion(check_interval=1, timeout=120)
told.append(again.status)
print(json.dumps(told))
print(json.dumps([m for m in sys.modules if m in ("given", "flow")]))
"""

GIVEN = '''
from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, project, step


{above}
class Given(FlowSpec):
    whole = Parameter("whole", type=int, default=1, help="""quoted \'\'\' and "words" """)
    ratio = Parameter("a-ratio", type=float, required=True)
    flag = Parameter("flag", type=bool, default=True)
    table = Parameter("table", type=JSONType, default={{"a": 1}})
    named = Parameter("name", default="x")
    file = IncludeFile("file", required=False)

    @step
    def start(self):
        self.seen = [self.whole, self.ratio, self.flag, self.table, self.named, self.file]
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Given()
'''


@pytest.mark.parametrize(
    ("above", "words", "name"),
    [
        ("", (), "Given"),
        ("@project(name='team')", ("--branch", "exp"), "team.test.exp.Given"),
        ("@project(name='team')", ("--production",), "team.prod.Given"),
        ("@project(name='team')", (), "team.user.ada.Given"),
    ],
)
def test_a_deployed_flow_is_found_without_its_file(
    metaflow: Metaflow, above: str, words: tuple[str, ...], name: str
) -> None:
    flow = metaflow.write("given.py", GIVEN.format(above=above))
    succeed(metaflow(flow, *words, "flyte", "create"))
    flow.unlink()
    included = metaflow.root / "included.txt"
    included.write_text("hello")
    given = f'{{"a_ratio": 0.5, "table": [1], "name": "n", "file": "{included}"}}'
    told = script(metaflow, FOUND, str(flow.parent), name, given).splitlines()[-2:]
    assert told == [
        f'[["{name}"], [], ["{name}", "Given", "FlyteDeployedFlow"], "Succeeded", '
        '[1, 0.5, true, [1], "n", "hello"], "Succeeded", true, "Succeeded"]',
        "[]",
    ]


MISSING = """
import sys
from metaflow import DeployedFlow
try:
    DeployedFlow.from_deployment(sys.argv[1], impl="flyte")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nothing", "nothing is registered as `Nothing` in local/development"),
        ("local/staging/Nothing", "nothing is registered as `Nothing` in local/staging"),
        ("../x", "nothing is registered as"),
    ],
)
def test_nothing_of_that_name_is_deployed(metaflow: Metaflow, name: str, message: str) -> None:
    assert message in script(metaflow, MISSING, name)


def test_outside_a_workspace_it_says_where_it_looked(tmp_path: Path) -> None:
    code = "from metaflow import DeployedFlow as D; D.from_deployment('NoFlow', impl='flyte')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"METAFLOW_USER": "ada", "HOME": str(tmp_path), "PATH": "/bin"},
        capture_output=True,
        text=True,
    )
    assert f"there is no BUILD.toml in `{tmp_path}` or above it" in done.stderr
