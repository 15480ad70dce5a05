"""What is laid down for a wheel: destinations, modes, commands, RECORD."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pytest

from mfbuild.errors import FetchError
from mfbuild.python.archive import Member
from mfbuild.python.wheel import Entry, Scheme, read_wheel
from tests.wheels import hash_of, make_wheel

SCHEME = Scheme(prefix="opt/venv", python="3.11")
SITE = "opt/venv/lib/python3.11/site-packages"
MIB = 1 << 20


def read(wheel: Path) -> dict[str, Entry]:
    return {entry.path: entry for entry in read_wheel(wheel, wheel.name, SCHEME)}


def made(entry: Entry) -> str:
    """The content of a file that was generated."""
    assert isinstance(entry.content, bytes)
    return entry.content.decode()


def record(entries: dict[str, Entry], name: str = "demo-1.0") -> list[list[str]]:
    return list(csv.reader(made(entries[f"{SITE}/{name}.dist-info/RECORD"]).splitlines()))


def refusal(wheel: Path) -> str:
    """Why a wheel is refused; the error names it."""
    with pytest.raises(FetchError) as caught:
        read(wheel)
    assert {problem.where for problem in caught.value.problems} == {wheel.name}
    return "; ".join(problem.message for problem in caught.value.problems)


def test_files_go_where_an_installer_puts_them(tmp_path: Path) -> None:
    files = {
        "demo/__init__.py": "",
        "demo.data/x.txt": "no data directory of this wheel",
        "demo-1.0.data/purelib/pure.py": "",
        "demo-1.0.data/platlib/plat/a.so": "",
        "demo-1.0.data/data/share/man/demo.1": "",
        "demo-1.0.data/headers/demo.h": "",
        "demo-1.0.data/scripts/tool": "#!/bin/sh\n",
    }
    entries = read(make_wheel(tmp_path, files))
    info = f"{SITE}/demo-1.0.dist-info"
    assert list(entries) == [
        "opt/venv/bin/tool",
        "opt/venv/include/site/python3.11/demo/demo.h",
        f"{info}/INSTALLER",
        f"{info}/METADATA",
        f"{info}/RECORD",
        f"{info}/WHEEL",
        f"{SITE}/demo.data/x.txt",
        f"{SITE}/demo/__init__.py",
        f"{SITE}/plat/a.so",
        f"{SITE}/pure.py",
        "opt/venv/share/man/demo.1",
    ]
    assert made(entries[f"{info}/INSTALLER"]) == "mfbuild\n"


def test_modes_are_0755_for_scripts_and_executables_only(tmp_path: Path) -> None:
    files = {"demo/a.py": "", "demo/tool": "", "demo-1.0.data/scripts/s": ""}
    entries = read(make_wheel(tmp_path, files, executable=["demo/tool"]))
    modes = {entry.path.rpartition("/")[2]: entry.mode for entry in entries.values()}
    assert (modes["a.py"], modes["tool"], modes["s"], modes["RECORD"]) == (
        *(0o644, 0o755, 0o755, 0o644),
    )


def test_commands_are_made_from_entry_points(tmp_path: Path) -> None:
    points = """
        [console_scripts]
        # a comment
        demo = demo.cli:main
        demo-x.y=demo.cli : App.run [extra]
        [gui_scripts]
        demo-gui = demo:gui
        [other]
        not/a command = whatever
    """
    entries = read(make_wheel(tmp_path, {"demo.py": ""}, info={"entry_points.txt": points}))
    assert made(entries["opt/venv/bin/demo"]) == (
        "#!/opt/venv/bin/python\nimport sys\n\nfrom demo.cli import main\n\n"
        'if __name__ == "__main__":\n    sys.exit(main())\n'
    )
    second = made(entries["opt/venv/bin/demo-x.y"])
    assert "from demo.cli import App\n" in second
    assert "sys.exit(App.run())" in second
    assert entries["opt/venv/bin/demo-gui"].mode == 0o755
    assert len([path for path in entries if "/bin/" in path]) == 3


def test_an_entry_point_wins_over_the_wrapper_of_its_name(tmp_path: Path) -> None:
    files = {"demo-1.0.data/scripts/demo": "#!python\nold wrapper\n"}
    points = "[console_scripts]\ndemo = demo:main\n"
    entries = read(make_wheel(tmp_path, files, info={"entry_points.txt": points}))
    assert "import main" in made(entries["opt/venv/bin/demo"])


def test_python_scripts_get_the_interpreter_of_the_image(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "demo-1.0.data/scripts/a": "#!python\nprint(1)\n",
        "demo-1.0.data/scripts/b": "#!pythonw -x\r\nprint(2)\n",
        "demo-1.0.data/scripts/c": "#!/usr/bin/env python\nprint(3)\n",
        "demo-1.0.data/scripts/d": b"\x7fELF",
    }
    entries = read(make_wheel(tmp_path, files))
    assert made(entries["opt/venv/bin/a"]) == "#!/opt/venv/bin/python\nprint(1)\n"
    assert made(entries["opt/venv/bin/b"]) == "#!/opt/venv/bin/python\nprint(2)\n"
    assert isinstance(entries["opt/venv/bin/c"].content, Member)
    assert isinstance(entries["opt/venv/bin/d"].content, Member)


def test_record_lists_what_is_laid_down(tmp_path: Path) -> None:
    files = {"demo/b.py": "b", "demo/a, b.txt": "a", "demo-1.0.data/scripts/tool": "#!python\n"}
    points = "[console_scripts]\ndemo = demo:main\n"
    entries = read(make_wheel(tmp_path, files, info={"entry_points.txt": points}))
    rows = record(entries)
    command = made(entries["opt/venv/bin/demo"]).encode()
    script = b"#!/opt/venv/bin/python\n"
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert rows[0] == ["../../../bin/demo", hash_of(command), str(len(command))]
    assert rows[1] == ["../../../bin/tool", hash_of(script), str(len(script))]
    assert ["demo/a, b.txt", hash_of(b"a"), "1"] in rows
    assert ["demo/b.py", hash_of(b"b"), "1"] in rows
    assert ["demo-1.0.dist-info/INSTALLER", hash_of(b"mfbuild\n"), "8"] in rows
    assert ["demo-1.0.dist-info/RECORD", "", ""] in rows
    assert len(rows) == len(entries)


def test_record_keeps_the_hashes_of_the_wheel_and_makes_up_none(tmp_path: Path) -> None:
    stale = "demo/a.py,sha512=abc,99\ngone.py,sha256=x,1\ndemo-1.0.dist-info/RECORD,,\n"
    wheel = make_wheel(tmp_path, {"demo/a.py": "a", "demo/b.py": "b"}, info={"RECORD": stale})
    rows = record(read(wheel))
    assert ["demo/a.py", "sha512=abc", "1"] in rows
    assert ["demo/b.py", "", "1"] in rows
    assert all(row[0] != "gone.py" for row in rows)


def test_what_belongs_to_another_installation_is_dropped(tmp_path: Path) -> None:
    dropped = ["REQUESTED", "direct_url.json", "uv_cache.json", "RECORD.jws", "RECORD.p7s"]
    info = dict.fromkeys(dropped, "x") | {"INSTALLER": "pip\n", "licenses/L": "x"}
    entries = read(make_wheel(tmp_path, {"demo.py": ""}, info=info))
    names = {path.rpartition("/")[2] for path in entries}
    assert not names & set(dropped)
    assert "L" in names
    assert made(entries[f"{SITE}/demo-1.0.dist-info/INSTALLER"]) == "mfbuild\n"


@pytest.mark.parametrize(
    ("filename", "info"),
    [
        ("Foo.Bar-1.0-py3-none-any.whl", "foo_bar-1.0"),
        ("foo_bar-1.0.0-1build-py3-none-any.whl", "Foo-Bar-1.0"),
        ("foo-1.0+cu12-py3-none-any.whl", "foo-1.0+CU12"),
    ],
)
def test_dist_info_may_spell_name_and_version_otherwise(
    tmp_path: Path, filename: str, info: str
) -> None:
    name, _, version = info.rpartition("-")
    made_as = make_wheel(tmp_path, {f"{info}.data/data/x": ""}, name=name, version=version)
    wheel = made_as.rename(tmp_path / filename)
    assert "opt/venv/x" in read(wheel)


@pytest.mark.parametrize(
    ("filename", "message"),
    [
        ("demo-2.0-py3-none-any.whl", "one directory `demo-2.0.dist-info`; it has `demo-1.0.dis"),
        ("other-1.0-py3-none-any.whl", "must have one directory `other-1.0.dist-info`"),
        ("demo.whl", "this is not the file name of a wheel"),
        ("demo-1.0.zip", "this is not the file name of a wheel"),
    ],
)
def test_the_file_name_must_be_that_of_the_wheel(
    tmp_path: Path, filename: str, message: str
) -> None:
    assert message in refusal(make_wheel(tmp_path, {}).rename(tmp_path / filename))


def test_a_zip_without_metadata_is_no_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo.py", "")
    assert refusal(wheel) == "must have one directory `demo-1.0.dist-info`; it has none"
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", "")
    assert refusal(wheel) == "has no `demo-1.0.dist-info/WHEEL`"
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.9\n")
    assert refusal(wheel) == "has no `demo-1.0.dist-info/RECORD`"


@pytest.mark.parametrize("version", ["2.0", "", "x"])
def test_another_wheel_version_is_refused(tmp_path: Path, version: str) -> None:
    wheel = make_wheel(tmp_path, {}, info={"WHEEL": f"Wheel-Version: {version}\n"})
    assert refusal(wheel) == f"its Wheel-Version is `{version}`, not `1.0`"


@pytest.mark.parametrize("place", ["scripts", "lib/x", "x"])
def test_an_unknown_place_in_data_is_refused(tmp_path: Path, place: str) -> None:
    wheel = make_wheel(tmp_path, {f"demo-1.0.data/{place}": ""})
    assert refusal(wheel) == f"`demo-1.0.data/{place}` has no place in the format"


def test_one_path_from_two_members_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"a.py": "", "demo-1.0.data/purelib/a.py": ""})
    assert refusal(wheel) == f"lays down `{SITE}/a.py` twice"


def test_every_bad_entry_point_is_named(tmp_path: Path) -> None:
    points = (
        "[console_scripts]\n../x = a:b\n.. = a:b\n = a:b\nok = a:b\nx = a\ny = a:b()\nz = 1:b\n"
    )
    wheel = make_wheel(tmp_path, {}, info={"entry_points.txt": points})
    assert refusal(wheel).split("; ") == [
        "its entry point `../x` cannot be the name of a command",
        "its entry point `..` cannot be the name of a command",
        "its entry point `` cannot be the name of a command",
        "its entry point `x` is `a`, not `module:function`",
        "its entry point `y` is `a:b()`, not `module:function`",
        "its entry point `z` is `1:b`, not `module:function`",
    ]


def test_metadata_that_is_absurdly_large_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {}, info={"entry_points.txt": bytes(65 * MIB)})
    assert "`demo-1.0.dist-info/entry_points.txt` is larger than" in refusal(wheel)
