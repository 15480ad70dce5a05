"""Several extensions of Metaflow at once: in an image they do what they do on the laptop."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.e2e.conftest import Runner
from tests.local.compared import settings
from tests.wheels import make_wheel

FLOW = """
from metaflow import FlowSpec, step, flyte, acme_mark, acme_answer, beta_answer, gamma_answer
from metaflow.metaflow_config import ACME_SETTING, LAST

class Flow(FlowSpec):
    @acme_mark
    @step
    def start(self):
        self.answers = acme_answer, beta_answer, gamma_answer, ACME_SETTING, LAST
        self.next(self.end)

    @step
    def end(self):
        print(self.answers, self.marked)

if __name__ == "__main__":
    Flow()
"""
DECORATOR = """
from metaflow.decorators import StepDecorator

class Mark(StepDecorator):
    name = "acme_mark"

    def task_pre_step(self, step_name, task_datastore, metadata, run_id, task_id, flow, *_):
        flow.marked = "marked"
"""


def extension(name: str, **files: str) -> dict[str, str]:
    """The files of an extension that has a toplevel and a config, and `files` besides."""
    top = f"metaflow_extensions/{name}"
    return {
        f"{top}/toplevel/names.py": f"{name}_answer = {name!r}\n__version__ = '7'\n",
        f"{top}/toplevel/mfextinit_{name}.py": "toplevel = 'names'\n",
        f"{top}/config/mfextinit_{name}.py": f"{name.upper()}_SETTING = LAST = {name!r}\n",
        **{f"{top}/{path}": text for path, text in files.items()},
    }


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def installed(root: Path) -> list[Path]:
    """A wheel, an editable distribution, and a plain folder, all as on sys.path."""
    plugins = {
        "plugins/mfextinit_acme.py": 'STEP_DECORATORS_DESC = [("acme_mark", ".mark.Mark")]\n',
        "plugins/mark.py": DECORATOR,
    }
    wheels, top = root / "wheels", {"top_level.txt": "metaflow_extensions\n"}
    wheels.mkdir(parents=True)
    wheel = make_wheel(wheels, extension("acme", **plugins), name="acme_ext", info=top)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "acme")
    beta, info = extension("beta"), "beta_ext-2.0.dist-info"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: beta-ext\nVersion: 2.0\n",
        "WHEEL": "Wheel-Version: 1.0\n",
        "RECORD": "".join(f"{name},,\n" for name in beta),
        "top_level.txt": "metaflow_extensions\n",
        "direct_url.json": json.dumps({"url": "file:///b", "dir_info": {"editable": True}}),
    }
    write(root / "beta", {**beta, **{f"{info}/{name}": text for name, text in about.items()}})
    write(root / "gamma", extension("gamma"))
    return [root / "acme", root / "beta", root / "gamma"]


def test_extensions_of_every_kind_work_in_an_image(mfbuild: Runner, tmp_path: Path) -> None:
    path = ":".join(map(str, installed(tmp_path / "extensions")))
    flow = write(tmp_path / "flow", {"flow.py": FLOW}) / "flow.py"
    env = {"PYTHONPATH": path, **settings(tmp_path / "data")}
    own = subprocess.run(
        [sys.executable, flow, "run"], cwd=flow.parent, env={**env, "PATH": "/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    wanted = "('acme', 'beta', 'gamma', 'acme', 'gamma') marked"
    assert wanted in own.stdout, own.stdout + own.stderr
    wheels = str(tmp_path / "extensions/wheels")
    done = mfbuild("run", "flow.py", cwd=flow.parent, UV_FIND_LINKS=wheels, **env)
    assert done.code == 0, done.err
    logs = mfbuild("logs", done.out.strip(), "end", cwd=flow.parent, **env)
    assert wanted in logs.out
