"""The tool python.pyc: bytecode that the interpreter takes, the same bytes each time."""

from __future__ import annotations

import importlib.util
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mfbuild.errors import ActionError, Interrupted
from mfbuild.python.pyc import find_python, run
from tests.wheels import make_wheel
from tests.work import contents, make_work

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
TAG = sys.implementation.cache_tag
SITE = f"opt/venv/lib/python{MINOR}/site-packages"
MODULE = "NAMES = frozenset({'a', 'b', 'c'})\n\ndef fail():\n    raise ValueError('here')\n"


def compiled(folder: Path, *wheels: Path, python: str = MINOR) -> Path:
    """The folder with the outputs of `python.pyc` for these wheels."""
    names = [wheel.name for wheel in wheels]
    params = {"python": python, "prefix": "opt/venv", "wheels": names, "comment": "bytecode"}
    run(make_work(folder, params, {wheel.name: wheel for wheel in wheels}), dict(os.environ))
    return folder


def test_modules_of_site_packages_are_compiled(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "demo/__init__.py": MODULE,
        "demo/sub/mod.py": "",
        "demo/template.py": "print '{{ python 2 }}'\n",
        "demo/nul.py": b"\0",
        "demo/data.txt": "x",
        "demo-1.0.data/scripts/tool.py": "#!python\n",
    }
    found = contents(compiled(tmp_path / "out", make_wheel(tmp_path, files)) / "layer")
    assert sorted(found) == [
        f"{SITE}/demo/__pycache__/__init__.{TAG}.pyc",
        f"{SITE}/demo/sub/__pycache__/mod.{TAG}.pyc",
    ]


def test_the_interpreter_runs_the_bytecode_without_checking_it(tmp_path: Path) -> None:
    outputs = compiled(tmp_path / "out", make_wheel(tmp_path, {"demo.py": MODULE}))
    pyc = contents(outputs / "layer")[f"{SITE}/__pycache__/demo.{TAG}.pyc"]
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / f"__pycache__/demo.{TAG}.pyc").write_bytes(pyc)
    (tmp_path / "demo.py").write_text("raise SystemExit('compiled again')\n")
    command = [sys.executable, "-B", "-c", "import demo; print(sorted(demo.NAMES))"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "['a', 'b', 'c']\n"


def test_a_pyc_is_marked_unchecked_and_hashed(tmp_path: Path) -> None:
    outputs = compiled(tmp_path / "out", make_wheel(tmp_path, {"demo.py": MODULE}))
    pyc = contents(outputs / "layer")[f"{SITE}/__pycache__/demo.{TAG}.pyc"]
    assert pyc[:4] == importlib.util.MAGIC_NUMBER
    assert pyc[4:8] == b"\1\0\0\0"
    assert pyc[8:16] == importlib.util.source_hash(MODULE.encode())
    assert marshal.loads(pyc[16:]).co_filename == f"/{SITE}/demo.py"


def test_bytes_do_not_depend_on_company_order_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"def f{n}(x_{n}):\n    return {{'k{n}', x_{n}}}\n" for n in range(50))
    one = make_wheel(tmp_path, {"one.py": text}, name="one")
    two = make_wheel(tmp_path, {"a.py": text.replace("k", "j"), "two.py": text}, name="two")
    alone = contents(compiled(tmp_path / "1", one) / "layer")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    together = compiled(tmp_path / "2", two, one)
    name = f"{SITE}/__pycache__/one.{TAG}.pyc"
    assert contents(together / "layer")[name] == alone[name]
    again = compiled(tmp_path / "3", one, two)
    assert (again / "layer").read_bytes() == (together / "layer").read_bytes()
    owners = [line.split("\t")[3] for line in (again / "paths").read_text().splitlines()]
    assert owners == [two.name, one.name, two.name]


def test_bytecode_that_a_wheel_brings_is_left_to_it(tmp_path: Path) -> None:
    files = {"demo.py": "", "other.py": "", f"__pycache__/demo.{TAG}.pyc": "its own"}
    found = contents(compiled(tmp_path / "out", make_wheel(tmp_path, files)) / "layer")
    assert list(found) == [f"{SITE}/__pycache__/other.{TAG}.pyc"]


def test_the_minor_version_of_the_image_is_needed(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"demo.py": ""})
    with pytest.raises(ActionError) as caught:
        compiled(tmp_path / "out", wheel, python="3.1")
    problem = caught.value.problems[0]
    assert problem.message == (
        "bytecode for the image needs `python3.1` on PATH, which is not there"
    )
    assert problem.hint == "install that version of Python, or package without bytecode"


def test_find_python_looks_behind_shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shim(folder: str, name: str, text: str, mode: int = 0o755) -> None:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
        (tmp_path / folder / name).chmod(mode)

    real = f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n"
    shim("broken", f"python{MINOR}", "#!/bin/sh\nexit 127\n")
    shim("text", f"python{MINOR}", "not a program", 0o644)
    shim("good", f"python{MINOR}", real)
    shim("good", "python3.1", real)  # claims to be another version
    folders = ("missing", "", "broken", "text", "good")
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / f) if f else f for f in folders))
    assert find_python(MINOR, os.environ) == Path(sys.executable)
    assert find_python("3.1", os.environ) is None


def test_the_running_interpreter_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_python(MINOR, os.environ) == Path(sys.executable)


def impostor(folder: Path, then: str) -> None:
    """A `python<minor>` in `folder` that answers the probe and else does `then`."""
    name = folder / f"python{MINOR}"
    probe = f"[ \"$1\" = -I ] && echo cpython-{MINOR} '{name}' && exit"
    name.write_text(f"#!/bin/sh\n{probe}\n{then}\n")
    name.chmod(0o755)


def test_an_interpreter_that_dies_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    wheel = make_wheel(tmp_path, {"demo.py": "x = 1\n" * 100_000})
    with pytest.raises(ActionError) as caught:
        compiled(tmp_path / "out", wheel)
    assert str(caught.value) == f"the interpreter died while it compiled `/{SITE}/demo.py`"


def test_cancelling_ends_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor(tmp_path, f"echo $$ > pid\nexec '{sys.executable}' \"$@\"")
    monkeypatch.setenv("PATH", str(tmp_path))

    def cancel(_: int) -> None:
        raise Interrupted("cancelled")

    wheel = make_wheel(tmp_path, {"demo.py": ""})
    params = {"python": MINOR, "prefix": "opt/venv", "wheels": [wheel.name], "comment": "x"}
    work = make_work(tmp_path / "out", params, {wheel.name: wheel}, tick=cancel)
    with pytest.raises(Interrupted):
        run(work, dict(os.environ))
    with pytest.raises(ProcessLookupError):
        os.kill(int((work.scratch / "pid").read_text()), 0)
