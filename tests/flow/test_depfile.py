"""What makes a loaded flow stale and what does not: one real load, many changes undone again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mfbuild.flow import depfile
from tests.flow.loading import START, STEPS, Loader

READER = (
    """
import os
import sys
from pathlib import Path

import helper
import later

os.environ.get("WATCHED")
os.environ["OWN"] = "set here"
os.getenv("OWN")
FLAG = "FLAG" in os.environ
(here := Path(__file__).parent)
(here / "data.json").read_text()
(here / "elsewhere").resolve()
open(os.environ["OUTSIDE"]).close()
os.listdir(here / "inputs")
"""
    + START
    + STEPS
)


@dataclass(frozen=True)
class Case:
    """A loaded workspace, its depfile, and the environment that it was loaded with."""

    loader: Loader
    file: Path
    env: Mapping[str, str]

    def stale(self, **env: str) -> str | None:
        """Why the depfile does not hold, None if it does."""
        answer = depfile.check(self.file, {**self.env, **env})
        return answer if isinstance(answer, str) else None


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    base = tmp_path_factory.mktemp("depfile")
    workspace = base / "workspace"
    for folder in ("inputs", "package", ".hidden", ".metaflow"):
        (workspace / folder).mkdir(parents=True)
    for name in ("helper.py", "later.py", "package/module.py", "inputs/a", "data.json"):
        (workspace / name).write_text("")
    (base / "outside.txt").write_text("outside")
    (workspace / "flow.py").write_text(READER)
    (workspace / ".mfbuildignore").write_text("ignored/\n")
    (workspace / "ignored").mkdir()
    env = {"OUTSIDE": str(base / "outside.txt"), "WATCHED": "before", "SECRET": "hush"}
    loader = Loader(workspace, base / "cache", env)
    (base / "cache" / "home" / ".metaflowconfig").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        assert loader().reason == "never loaded before"
        [file] = (base / "cache" / "flows").iterdir()
        yield Case(loader, file, loader.environment())


@contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    """`path` with other content for a while; times and content are put back afterwards."""
    before = (path.read_text(), path.stat()) if path.exists() else None
    path.write_text(text)
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before[0])
            os.utime(path, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("flow.py", "flow.py` changed"),
        ("helper.py", "helper.py` changed"),
        ("data.json", "data.json` changed"),
        ("../outside.txt", "outside.txt` changed"),
        ("new.py", "added to or removed"),
        ("package/new.txt", "added to or removed"),
        ("inputs/b", "added to or removed"),
        (".mfbuildignore", ".mfbuildignore` changed"),
        ("../cache/home/.metaflowconfig/config.json", "Metaflow's settings changed"),
        (".metaflow/config.json", "Metaflow's settings changed"),
    ],
)
def test_a_changed_file_is_noticed(case: Case, name: str, reason: str) -> None:
    assert case.stale() is None
    with written(case.loader.workspace / name, "# other\n"):
        assert reason in (case.stale() or "")
    assert case.stale() is None


def test_a_removed_file_is_noticed(case: Case) -> None:
    path = case.loader.workspace / "later.py"
    path.unlink()
    assert "later.py` changed" in (case.stale() or "")
    path.write_text("")
    assert case.stale() is None


@pytest.mark.parametrize(
    "name", ["WATCHED", "FLAG", "METAFLOW_NEW", "METAFLOW_PROFILE", "PYTHONPATH", "HOME"]
)
def test_a_changed_variable_is_noticed(case: Case, name: str) -> None:
    assert case.stale(**{name: "/other"}) is not None
    assert case.stale() is None


def touch(workspace: Path) -> None:
    os.utime(workspace / "flow.py")


def write_same(workspace: Path) -> None:
    (workspace / "helper.py").write_text("")


def make_own(workspace: Path) -> None:
    (workspace / ".mfbuild" / "dist").mkdir(parents=True, exist_ok=True)
    (workspace / "BUILD.lock").touch()
    (workspace / "package" / "__pycache__").mkdir(exist_ok=True)


def write_hidden(workspace: Path) -> None:
    (workspace / ".hidden" / "file.py").touch()


def write_ignored(workspace: Path) -> None:
    (workspace / "ignored" / "file.py").touch()


@pytest.mark.parametrize("change", [touch, write_same, make_own, write_hidden, write_ignored])
def test_what_changes_nothing_loads_nothing(case: Case, change: Callable[[Path], None]) -> None:
    change(case.loader.workspace)
    assert case.stale() is None


@pytest.mark.parametrize("name", ["UNREAD", "OWN", "SHLVL"])
def test_a_variable_that_was_not_read_does_not_count(case: Case, name: str) -> None:
    assert case.stale(**{name: "other"}) is None


def test_no_value_of_a_variable_is_stored(case: Case) -> None:
    text = case.file.read_text()
    assert "hush" not in text
    assert "before" not in text
    assert case.file.stat().st_mode & 0o077 == 0


def test_a_damaged_depfile_is_not_trusted(case: Case) -> None:
    with written(case.file, '{"stat": 3}'):
        assert case.stale() == "its depfile is damaged"
    with written(case.file, ""):
        assert case.stale() == "its depfile is damaged"
    assert case.stale() is None


def test_a_file_that_changed_while_loading_is_not_recorded(tmp_path: Path) -> None:
    source = tmp_path / "flow.py"
    source.write_text("new")
    inputs = depfile.Inputs({str(source): (1, 2, 3, 4)}, {}, (), (), False)
    assert not depfile.write(tmp_path / "depfile", inputs, {}, {})
    assert not (tmp_path / "depfile").exists()


def test_a_flow_that_reads_all_variables_depends_on_all(tmp_path: Path) -> None:
    inputs = depfile.Inputs({}, {}, (), (), True)
    assert depfile.write(tmp_path / "depfile", inputs, {"flow": 1}, {"A": "1", "SHLVL": "1"})
    assert depfile.check(tmp_path / "depfile", {"A": "1", "SHLVL": "2"}) == {"flow": 1}
    assert depfile.check(tmp_path / "depfile", {"A": "1", "B": ""}) == "the environment changed"


def test_a_changed_interpreter_is_noticed(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch()
    assert depfile.write(
        tmp_path / "depfile", depfile.Inputs({}, {}, (str(python),), (), False), {}, {}
    )
    assert depfile.check(tmp_path / "depfile", {}) == {}
    os.utime(python, ns=(1, 1))
    assert depfile.check(tmp_path / "depfile", {}) == f"`{python}` changed"


def test_options_interpreter_and_folder_have_depfiles_of_their_own(tmp_path: Path) -> None:
    key = {"options": [], "cwd": "/a"}
    assert depfile.path(tmp_path, key) == depfile.path(tmp_path, dict(key))
    assert depfile.path(tmp_path, key) != depfile.path(tmp_path, {**key, "options": ["--with"]})


def test_a_no_op_imports_nothing_heavy(case: Case) -> None:
    """In a process of its own: neither Metaflow nor pathspec, and no child."""
    script = f"""
import sys
from pathlib import Path
from mfbuild.flow.load import load_flow
loaded = load_flow(
    Path("flow.py"), workspace=Path(), python=Path(sys.executable),
    cache_dir=Path({str(case.loader.cache)!r}), env={dict(case.env)!r},
)
assert loaded.cached, loaded.reason
heavy = {{"metaflow", "pathspec", "packaging", "requests"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=case.loader.workspace)


def test_metaflow_chooses_its_settings_as_here(tmp_path: Path, case: Case) -> None:
    """metaflow_configs names the file that Metaflow itself would read."""
    env = {"METAFLOW_HOME": str(tmp_path), "METAFLOW_PROFILE": "team"}
    (tmp_path / "config_team.json").write_text(json.dumps({"METAFLOW_X": "1"}))
    script = "from metaflow import metaflow_config_funcs as f; print(f.init_config())"
    told = subprocess.run(
        [sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True
    )
    assert told.stdout.strip() == "{'METAFLOW_X': '1'}"
    local = case.loader.workspace / ".metaflow" / "config.json"
    assert depfile.metaflow_configs(env) == (str(tmp_path / "config_team.json"), str(local))
