"""The verbs of push where something is in the way: words, signals, damaged files, full disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.children import wait_until
from tests.e2e.conftest import FLOW, Done, Runner, write_flow

AMD64 = ("--platform", "linux/amd64")

FLYTE = Path(".mfbuild/flyte/local/development")


@pytest.fixture(scope="module")
def registered(mfbuild: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a flow that was pushed, and has run."""
    folder = tmp_path_factory.mktemp("registered")
    write_flow(folder)
    assert mfbuild("push", "flow.py", *AMD64, cwd=folder).code == 0
    done = mfbuild("trigger", "SmallFlow", "--wait", cwd=folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def folder(registered: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(registered, tmp_path / "flow")


def execution(folder: Path) -> Path:
    (found,) = (folder / ".mfbuild/runs").iterdir()
    return found


def assert_refused(done: Done, code: int, said: str) -> None:
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err.startswith(f"error: {said}"), done.err


@pytest.mark.parametrize("verb", ["versions", "trigger", "activate", "deactivate"])
def test_a_pattern_of_several_flows_where_one_is_needed(
    mfbuild: Runner, folder: Path, verb: str
) -> None:
    (folder / "other.py").write_text(FLOW.replace("SmallFlow", "OtherFlow"))
    assert_refused(mfbuild(verb, "//...", cwd=folder), 2, "`//...` is 2 flows, where one is needed")


@pytest.mark.parametrize("verb", ["versions", "activate", "deactivate"])
def test_a_step_where_only_a_flow_makes_sense(mfbuild: Runner, folder: Path, verb: str) -> None:
    done = mfbuild(verb, "SmallFlow:start", cwd=folder)
    assert_refused(done, 2, "`SmallFlow:start` is not FLOW[@VERSION]\n")


def test_promote_takes_no_file(mfbuild: Runner, folder: Path) -> None:
    words = ("promote", "flow.py", "--from", "development", "--to", "staging")
    assert_refused(mfbuild(*words, cwd=folder), 2, "`flow.py` is a file, and no registered name")


def test_a_flow_is_found_from_elsewhere_as_push_finds_it(mfbuild: Runner, tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "my.pyflows")
    pushed = mfbuild("push", flow, *AMD64, "-q", cwd=tmp_path)
    version = pushed.out.strip().partition("@")[2]
    word = f"my.pyflows/flow.py@{version[:8]}"
    listed = mfbuild("versions", word, "--json", cwd=tmp_path).json()
    assert [v["version"] for v in listed["versions"]] == [version]
    assert mfbuild("activate", word, "-q", cwd=tmp_path).out == pushed.out
    told = mfbuild("diff", "my.pyflows/flow.py", word, "--json", cwd=tmp_path).json()
    assert told == {"changes": []}


def test_each_flow_goes_to_its_own_project(mfbuild: Runner, tmp_path: Path) -> None:
    for name, project in (("a", "first"), ("b", "second")):
        text = FLOW.replace("class SmallFlow", f'@flyte(project="{project}")\nclass SmallFlow')
        imported = text.replace("import FlowSpec", "import flyte, FlowSpec")
        write_flow(tmp_path, {f"{name}.py": imported.replace("SmallFlow", f"Flow{name}")})
    done = mfbuild("push", "a.py", "b.py", "--json", *AMD64, cwd=tmp_path)
    assert [each["project"] for each in done.json()["pushed"]] == ["first", "second"]


def test_nothing_is_pushed_where_one_domain_is_wrong(mfbuild: Runner, folder: Path) -> None:
    words = ("push", "flow.py", *AMD64, "-q", "-d", "staging", "-d", "nope")
    assert_refused(mfbuild(*words, cwd=folder), 2, "there is no domain `nope`")
    assert mfbuild("versions", "SmallFlow", "-d", "staging", cwd=folder).code == 2


def test_status_prints_executions_and_nothing_else(mfbuild: Runner, folder: Path) -> None:
    listed = mfbuild("status", "--json", cwd=folder).json()
    assert [e["name"] for e in listed["executions"]] == [execution(folder).name]
    none = mfbuild("status", "--flow", "Nope", cwd=folder)
    where = "local/development of the embedded backend (.mfbuild/flyte)"
    assert (none.code, none.out) == (0, "")
    assert none.err == f"there is no execution of `Nope` in {where}\n"
    assert mfbuild("status", "-n", "-1", cwd=folder).code == 2


def test_logs_of_a_step_that_there_is_not(mfbuild: Runner, folder: Path) -> None:
    name = execution(folder).name
    assert_refused(
        mfbuild("logs", name, "strat", cwd=folder),
        2,
        f"no step `strat` has run in `{name}`\n  hint: did you mean `start`?",
    )


def test_logs_that_nobody_reads(mfbuild: Runner, folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "mfbuild", "logs", execution(folder).name]
    env = {**os.environ, "MFBUILD_STORE": str(mfbuild.store)}
    done = subprocess.run(command, cwd=folder, env=env, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_ends_when_it_is_told_to(
    mfbuild: Runner, folder: Path, number: signal.Signals
) -> None:
    (folder / "helper.py").write_text("import time\ntime.sleep(600)\nGREETING = None\n")
    flow = (folder / "flow.py").read_text().replace("import helper\n", "")
    later = flow.replace("        print(helper", "        import helper\n        print(helper")
    (folder / "flow.py").write_text(later)
    assert mfbuild("push", "flow.py", *AMD64, cwd=folder).code == 0
    started = mfbuild("trigger", "SmallFlow", "--json", cwd=folder).json()["name"]
    command = [sys.executable, "-m", "mfbuild", "logs", started, "-f", "end"]
    env = {**os.environ, "MFBUILD_STORE": str(mfbuild.store)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=pipe, stderr=pipe, start_new_session=True
    ) as child:
        try:
            while not any("probe_logs" in line for line in naming(started)):
                assert child.poll() is None, child.communicate()
            os.killpg(child.pid, number)
            out, err = child.communicate()
        finally:
            mfbuild("terminate", started, cwd=folder)
    assert (child.returncode, out, err) == (130, b"", b"error: interrupted\n")
    wait_until(lambda: not naming(started))


def naming(text: str) -> list[str]:
    """The command lines, of all processes, that have `text` in them."""
    found = subprocess.run(["ps", "-e", "-ww", "-o", "args="], capture_output=True, text=True)
    return [line for line in found.stdout.splitlines() if text in line]


def test_a_step_on_a_run_that_is_named_as_an_execution(mfbuild: Runner, folder: Path) -> None:
    name = execution(folder).name
    for run in (name, f"SmallFlow/flyte-{name}"):
        done = mfbuild("trigger", "SmallFlow:end", "--from-run", run, "--wait", cwd=folder)
        assert done.code == 0, done.err
    done = mfbuild("trigger", "SmallFlow", "--path", "0", cwd=folder)
    assert_refused(done, 2, "a single step runs on the artifacts of a run")


def test_what_was_packaged_last_cannot_be_read_or_is_gone(mfbuild: Runner, folder: Path) -> None:
    (bundle,) = (folder / ".mfbuild/dist").glob("SmallFlow-*")
    latest = folder / ".mfbuild/latest.json"
    assert mfbuild("push", cwd=folder).err.startswith(f"SmallFlow as packaged last: {bundle}\n")
    bundle.rename(bundle.with_name("moved"))
    assert_refused(
        mfbuild("push", cwd=folder),
        2,
        f"`{bundle}`, which was packaged last, is gone\n"
        "  hint: make it again: mfbuild push //flow.py",
    )
    latest.unlink()
    latest.mkdir()
    said = "`.mfbuild/latest.json` cannot be read: is a directory"
    assert_refused(mfbuild("push", cwd=folder), 2, said)


def test_a_damaged_record_leaves_the_list_of_the_others(mfbuild: Runner, folder: Path) -> None:
    run = execution(folder)
    bad = shutil.copytree(run, run.with_name("r0damaged"))
    (bad / "run.json").write_bytes((bad / "run.json").read_bytes()[:40])
    for words in ((), ("--flow", "SmallFlow")):
        listed = mfbuild("status", "--json", *words, cwd=folder)
        assert [e["name"] for e in listed.json()["executions"]] == [run.name]
        (line,) = listed.err.splitlines()
        assert line.startswith("warning: left out the run `r0damaged`: the record of the run")
        assert line.endswith(f", at {bad}; remove {bad} to forget it")
    whole = mfbuild("status", run.name, cwd=folder)
    assert (whole.code, whole.err) == (0, "")
    for verb in ("status", "terminate", "logs", "resume"):
        done = mfbuild(verb, bad.name, cwd=folder)
        assert_refused(done, 1, "the record of the run cannot be read: ")
    latest = mfbuild("resume", cwd=folder)
    assert latest.code == 2 and f"error: the run `{run.name}` has succeeded" in latest.err
    assert latest.err.startswith("warning: left out the run `r0damaged`")


def test_damaged_files_of_the_embedded_backend(mfbuild: Runner, folder: Path) -> None:
    run = execution(folder)
    (run / "request.pb").write_bytes(b"\xff\xff")
    for words in (("status", run.name), ("terminate", run.name), ("logs", run.name)):
        done = mfbuild(*words, cwd=folder)
        assert_refused(done, 1, "the request of the run cannot be read: ")
        assert str(run / "request.pb") in done.err
    listed = mfbuild("status", cwd=folder)
    assert (listed.code, listed.out) == (0, "")
    assert listed.err.count("warning: ") == 1
    assert f"warning: left out the run `{run.name}`: the request of the run" in listed.err
    (folder / FLYTE / "active").mkdir()
    (folder / FLYTE / "active/SmallFlow").write_bytes(b"\xff\xff")
    (listed,) = mfbuild("versions", "SmallFlow", "--json", cwd=folder).json()["versions"]
    assert not listed["active"]  # as with any other marker of what is not registered
