"""Loading, loading again, and every way in which a flow file can be wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mfbuild.errors import FlowError, MfbuildError, UsageError
from mfbuild.flow.load import load_flow
from tests.children import wait_for
from tests.flow.loading import FLOW, START, STEPS, Loader

MAIN = STEPS.index("if __name__")


def write(loader: Loader, text: str, name: str = "flow.py") -> Path:
    path = loader.workspace / name
    path.write_text(text)
    return path


def refusal(loader: Loader, text: str, *options: str) -> MfbuildError:
    write(loader, text)
    with pytest.raises(MfbuildError) as raised:
        loader(options=options)
    return raised.value


def test_the_second_load_starts_no_child_and_an_edit_does(loader: Loader) -> None:
    write(loader, FLOW)
    first = loader()
    again = loader()
    assert (first.cached, again.cached, again.spec == first.spec) == (False, True, True)
    write(loader, FLOW + "# edited\n")
    edited = loader()
    assert edited.reason is not None and "flow.py` changed" in edited.reason
    (loader.workspace / "flow.py").chmod(0o755)
    marked = loader()
    assert (marked.cached, marked.spec.code[-1].executable) == (True, True)


def test_deploy_time_defaults_are_kept_until_a_refresh(loader: Loader) -> None:
    default = '    p = Parameter("p", default=lambda context: __import__("os").urandom(4).hex())'
    write(loader, START + default + STEPS)
    values = [loader(refresh=refresh).spec.parameters[0] for refresh in (False, False, True, False)]
    assert values[0] == values[1] != values[2] == values[3]
    assert values[0].deploy_time
    assert loader(refresh=True).reason == "asked to refresh"


def test_options_reach_metaflow_and_have_results_of_their_own(loader: Loader) -> None:
    write(loader, FLOW)
    assert loader().spec.steps[0].retry is None
    with_retry = loader(options=["--with", "retry:times=4"])
    assert with_retry.spec.steps[0].retry is not None
    assert with_retry.spec.steps[0].decorators[0].explicit
    assert loader().cached


def test_what_a_flow_writes_itself_is_no_input(loader: Loader) -> None:
    """A scratch file, new in each process, does not make the next load a real one."""
    scratch = (
        "import os, tempfile\nwith tempfile.TemporaryFile('w+') as f: f.write('x'), f.read()\n"
    )
    log = "with open(LOG, 'w+') as f: f.write(str(os.getpid())), f.seek(0), f.read()\n"
    write(loader, scratch + f"LOG = {str(loader.cache / 'log')!r}\n" + log + FLOW)
    loader.cache.mkdir()
    loader()
    assert loader().cached


def test_nothing_is_left_in_the_workspace(loader: Loader) -> None:
    write(loader, FLOW)
    loader()
    assert [path.name for path in loader.workspace.iterdir()] == ["flow.py"]


def test_a_cache_that_cannot_be_written_fails_no_load(loader: Loader) -> None:
    write(loader, FLOW)
    loader.cache.write_text("a file, not a folder")
    assert loader().spec.name == "F"
    assert not loader().cached


def test_the_users_prints_do_not_disturb(loader: Loader, capfd: pytest.CaptureFixture[str]) -> None:
    write(loader, 'print("{}")\nimport threading, time\n' + _THREAD + FLOW)
    assert loader().spec.name == "F"
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == "{}\n"


_THREAD = "threading.Thread(target=time.sleep, args=(60,)).start()\n"


def test_a_flow_sees_its_own_folder_and_not_that_of_mfbuild(loader: Loader) -> None:
    write(loader, "import sys\nPATH, ARGV = sys.path[0], sys.argv\n" + _REPORT + STEPS)
    path, argv, modules = (p.default for p in sorted(loader().spec.parameters, key=_name))
    assert path == str(loader.workspace)
    assert argv == [str(loader.workspace / "flow.py")]
    assert modules == []


def _name(parameter: object) -> str:
    return ["p", "v", "w"].index(getattr(parameter, "name", "")).__str__()


_REPORT = START.replace("\n\nclass", "\nfrom metaflow import JSONType\n\nclass") + (
    '    p = Parameter("p", default=PATH)\n'
    '    v = Parameter("v", type=JSONType, default=ARGV)\n'
    '    w = Parameter("w", type=JSONType, default=[m for m in sys.modules if m == "mfbuild"])\n'
)


def test_a_datastore_needs_no_client_here(loader: Loader) -> None:
    write(loader, FLOW)
    spec = loader(METAFLOW_DEFAULT_DATASTORE="gs", METAFLOW_DATASTORE_SYSROOT_GS="gs://b/m").spec
    assert spec.host.datastore == "gs"
    assert {"google-auth", "google-cloud-storage"} <= set(spec.host.requirements)
    asked = loader(datastores=["azure"]).spec.host
    assert (asked.datastore, "azure-identity" in asked.requirements) == ("local", True)


def test_a_missing_flow_or_interpreter_is_a_usage_error(loader: Loader) -> None:
    with pytest.raises(UsageError, match="there is no flow file"):
        loader("nowhere.py")
    path = write(loader, FLOW)
    outside = {"cache_dir": loader.cache, "env": loader.environment()}
    with pytest.raises(UsageError, match="outside the workspace"):
        load_flow(path, workspace=loader.cache, python=Path(sys.executable), **outside)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot run the interpreter"):
        load_flow(path, workspace=loader.workspace, python=Path("/no/python"), **outside)  # type: ignore[arg-type]


def test_an_interpreter_without_metaflow_is_named(loader: Loader) -> None:
    error = refusal(loader, "import sys\nsys.path[:] = sys.path[:1]\n" + FLOW)
    assert isinstance(error, UsageError)
    assert "cannot import metaflow" in str(error)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("def f(:\n", "SyntaxError", ":1"),
        ("def f():\n    return 1 / 0\n\nf()\n", "ZeroDivisionError: division by zero", ":2"),
        ("import no_such_module\n", "No module named 'no_such_module'", ":1"),
        ("", "there is no FlowSpec in the file", ""),
        (START + STEPS[:MAIN], "defines `F` but does not start it", ""),
        (
            FLOW.replace("if ", "class G(F): ...\n\n\nif ") + "    G()\n",
            "starts more than one flow: `F`, `G`",
            "",
        ),
        ("import sys\n\nsys.exit(3)\n", "exits with `3` before its flow starts", ":3"),
        ("import os\nos._exit(4)\n", "ended its own process with status `4`", ""),
        ("import os\nos.kill(os.getpid(), 9)\n", "was ended: `Killed`", ""),
        ("input()\n", "EOFError", ":1"),
        (FLOW.replace("self.end)", "self.no)"), "`start`", ":9"),
        (START + '    p = Parameter("p", default=lambda c: 1 / 0)\n' + STEPS, "by zero", ":6"),
        (START + '    p = Parameter("p", type=dict)\n' + STEPS, "`p` has the type `dict`", ""),
        (START + '    p = Parameter("p", default=float("inf"))\n' + STEPS, "is not JSON", ""),
        (START + '    p = Parameter("p", type=int, default="x")\n' + STEPS, "default that is", ""),
        (
            FLOW.replace("step\n", "resources, step\n", 1).replace(
                "    @step", '    @resources(memory="4Gi")\n    @step', 1
            ),
            "step `start` asks for `memory=4Gi`",
            ":9",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    loader: Loader, text: str, message: str, line: str
) -> None:
    error = refusal(loader, text)
    assert isinstance(error, FlowError)
    assert message in str(error)
    assert error.problems[0].where == f"flow.py{line}"
    assert "/mfbuild/flow/probe" not in str(error)


def test_the_traceback_is_the_users_own(loader: Loader) -> None:
    write(loader, "def broken():\n    raise KeyError('x')\n", "helper.py")
    error = refusal(loader, "import helper\n\nhelper.broken()\n")
    assert error.problems[0].where == "helper.py:2"
    assert "helper.broken()" in str(error)
    assert "runpy" not in str(error)


@pytest.mark.parametrize("option", ["run", "--help", "--no-such-option"])
def test_options_that_metaflow_does_not_take_are_a_usage_error(loader: Loader, option: str) -> None:
    assert isinstance(refusal(loader, FLOW, option), UsageError)


def test_an_interrupt_ends_the_child(loader: Loader) -> None:
    write(loader, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)\n")
    script = f"""
from pathlib import Path
import sys
from mfbuild.flow.load import load_flow
load_flow(Path("flow.py"), workspace=Path(), python=Path(sys.executable),
     cache_dir=Path({str(loader.cache)!r}), env={loader.environment()!r})
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    pid = loader.workspace / "pid"
    wait_for(pid)
    parent.send_signal(signal.SIGINT)
    assert parent.wait() == -signal.SIGINT
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    "prank",
    [
        'json.dumps = lambda *a, **k: "{}"; json.dump = lambda *a, **k: None',
        "json.loads = lambda *a, **k: {}; json.load = json.loads",
        "json.JSONEncoder.encode = json.JSONEncoder.iterencode = lambda *a, **k: '{}'",
    ],
)
def test_a_flow_may_replace_what_the_probe_answers_with(loader: Loader, prank: str) -> None:
    """Libraries do so, to write JSON quicker or with more types."""
    write(loader, f"import json\n{prank}\n{FLOW}")
    try:
        found = loader()
    except FlowError as error:
        assert error.problems[0].where
    else:
        assert [step.name for step in found.spec.steps] == ["start", "end"]


def test_an_answer_of_the_flow_itself_is_told_from_the_probes(loader: Loader) -> None:
    prank = (
        "import json, os, pathlib, sys, threading\n"
        "frame = sys._getframe()\n"
        "while 'request' not in frame.f_locals: frame = frame.f_back\n"
        "os.write(frame.f_locals['request']['answer'], b'{}')\n"
        "os._exit(0)\n"
    )
    error = refusal(loader, prank + FLOW)
    assert isinstance(error, FlowError)
    assert str(error) == "the flow answers in place of what loads it"
    assert error.problems[0].where == "flow.py"
