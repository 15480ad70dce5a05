"""What a step can do to its machine, and what it learns of it: no more than in a pod."""

from __future__ import annotations

import ast
import json
import os
import re
import stat
from pathlib import Path

import pytest

from mfbuild.local.sandbox.container import runtime_config
from mfbuild.local.sandbox.environment import PASSED, on_host, passed
from tests.e2e.conftest import Runner
from tests.local.compared import artifacts, ours

FLOW = """
import json, os, socket
from metaflow import FlowSpec, step

def can(action):
    try:
        action()
    except OSError:
        return False
    return True

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(name + ":"))

class WallsFlow(FlowSpec):
    @step
    def start(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.found = json.dumps(dict(
            uid=[os.getuid(), os.getgid()],
            capabilities=[int(status(name), 16) for name in ("CapEff", "CapPrm", "CapBnd")],
            privileges=status("NoNewPrivs"),
            processes=sum(name.isdigit() for name in os.listdir("/proc")) < 9,
            outside=[path for path in __OUTSIDE__ if os.path.exists(path)],
            writable=[path for path in __WRITABLE__ if can(lambda: open(path, "a").close())],
            # By what a directory lets one do: nothing is ever changed on the machine.
            folders=[path for path in __FOLDERS__ if os.access(path, os.W_OK)],
            masked=can(lambda: open("/proc/kcore", "rb").read(1)) and bool(
                open("/proc/kcore", "rb").read(1)),
            disks=[name for name in os.listdir("/dev") if name[:2] in ("sd", "vd", "nv", "me")],
            code=[entry for entry in os.environ.get("PYTHONPYCACHEPREFIX", "").split()
                  if os.access(entry, os.W_OK)],
            tmp=can(lambda: open("/tmp/own", "w").close()),
            home=can(lambda: open(os.path.expanduser("~/own"), "w").close()),
            shared=can(lambda: open("/dev/shm/own", "w").close()),
            network=sorted(name for _, name in socket.if_nameindex()),
            loopback=can(lambda: socket.create_connection(listener.getsockname(), 5)),
            variables=sorted(os.environ),
        ))
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    WallsFlow()
"""
WRITABLE = ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/usr/x", "/x", "/dev/x"]
FOLDERS = ["/", "/sys", "/sys/fs/cgroup", "/dev", "/usr", "/opt/venv", "/etc"]
OPEN = {"tmp": True, "home": True, "shared": True, "loopback": True}


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """The flow, which looks for files of this machine that it should not find."""
    (tmp_path / "secret").write_text("of the machine")
    outside = [str(tmp_path / "secret"), str(Path("/bin/sh").resolve()), str(Path(__file__))]
    text = FLOW.replace("__WRITABLE__", repr(WRITABLE)).replace("__FOLDERS__", repr(FOLDERS))
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws/flow.py").write_text(text.replace("__OUTSIDE__", repr(outside)))
    return tmp_path / "ws/flow.py"


def found_by(mfbuild: Runner, flow: Path, *words: str, **env: str) -> dict[str, object]:
    """What the step found; what it needs was downloaded without these variables."""
    mfbuild.package("flow.py", "--platform", "linux/amd64", cwd=flow.parent)
    done = ours(mfbuild, flow, flow.parent, "--platform", "linux/amd64", *words, **env)
    assert done.code == 0, done.err
    (start,) = map(json.loads, artifacts(flow.parent, done.out.strip())["start"])
    found: dict[str, object] = json.loads(ast.literal_eval(start["found"]))
    return found


SECRETS = {
    "MFBUILD_FLYTE_TOKEN": "token",
    "MFBUILD_DEBIAN_MIRROR": "https://ada:word@mirror.example",
    "GITHUB_TOKEN": "token",
    "AWS_ACCESS_KEY_ID": "key",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "*",
}


def test_a_step_can_do_nothing_to_its_machine(mfbuild: Runner, flow: Path) -> None:
    found = found_by(mfbuild, flow, **SECRETS)
    assert found["uid"] == [65532, 65532]
    assert found["capabilities"] == [0, 0, 0]
    assert found["privileges"] == "1"
    assert found["processes"] is True
    assert found["masked"] is False
    nothing = ("outside", "writable", "folders", "disks", "code")
    assert {name: found[name] for name in nothing} == {key: [] for key in nothing}
    assert {name: found[name] for name in OPEN} == OPEN
    variables = found["variables"]
    assert isinstance(variables, list)
    assert {"AWS_ACCESS_KEY_ID", "https_proxy"} <= {*variables}
    assert not {"MFBUILD_FLYTE_TOKEN", "MFBUILD_DEBIAN_MIRROR", "GITHUB_TOKEN"} & {*variables}
    left = [*(flow.parent / ".mfbuild").rglob("*"), *(flow.parent / ".metaflow").rglob("*")]
    assert {path.lstat().st_uid for path in left} == {os.geteuid()}
    assert all(path.lstat().st_mode & stat.S_IRUSR for path in left)


@pytest.mark.tools
def test_runc_keeps_the_same_walls(mfbuild: Runner, flow: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("runc needs root here")
    found = found_by(mfbuild, flow, "--in", "container", PATH="/nowhere", **SECRETS)
    assert found["uid"] == [0, 0]  # who has no capability, though
    assert found["capabilities"] == [0, 0, 0]
    nothing = ("outside", "disks")
    assert {name: found[name] for name in nothing} == {key: [] for key in nothing}
    assert "MFBUILD_FLYTE_TOKEN" not in found["variables"]  # type: ignore[operator]
    assert not list(flow.parent.glob(".mfbuild/runs/**/config.json"))


def test_no_network_is_a_loopback_alone(mfbuild: Runner, flow: Path) -> None:
    found = found_by(mfbuild, flow, "--network", "none")
    assert found["network"] == ["lo"]
    assert found["loopback"] is True


def test_no_network_is_refused_where_nothing_can_wall_it_off(mfbuild: Runner, flow: Path) -> None:
    done = ours(mfbuild, flow, flow.parent, "--network", "none", "--in", "host")
    assert done.code == 2
    assert "`--network none` is not possible with `--in host`" in done.err


def test_the_variables_that_pass_are_those_of_the_documents() -> None:
    text = (Path(__file__).parents[3] / "docs/security.md").read_text()
    section = text.partition("## Variables")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+`) \| (.+) \|$", section, re.MULTILINE)
    documented = {name: why for names, why in rows for name in re.findall(r"`([^`]+)`", names)}
    assert documented == PASSED


def test_what_passes_has_a_reason_and_nothing_else_does() -> None:
    given = {
        **dict.fromkeys(("PATH", "HOME", "USER", "TZ", "LANG", "PYTHONPATH", "SSH_AUTH_SOCK"), "x"),
        **dict.fromkeys(("MFBUILD_FLYTE_TOKEN", "MFBUILD_STORE", "METAFLOWX", "AWS"), "x"),
    }
    kept = dict.fromkeys(("METAFLOW_USER", "AWS_PROFILE", "no_proxy", "SSL_CERT_FILE"), "y")
    assert passed({**given, **kept}) == kept
    hosts = {n for n in given if not n.startswith("MFBUILD_")} | kept.keys()
    assert on_host({**given, **kept}).keys() == hosts


def test_the_config_of_runc_walls_off_what_docker_does() -> None:
    config = runtime_config([], {}, "/launcher.py", network=False)
    assert {"type": "network"} in config["linux"]["namespaces"]
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert "/proc/sys" in config["linux"]["readonlyPaths"]
    assert config["root"]["readonly"] is True
