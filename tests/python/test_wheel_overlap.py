"""Files that several wheels bring: an image holds what pip leaves, however it is layered."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfbuild.errors import ActionError
from mfbuild.oci.image import PathEntry, check_paths, parse_paths
from mfbuild.oci.tar import HASHED
from mfbuild.python import layer, overlap
from tests.wheels import make_wheel
from tests.work import make_work

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
SITE = f"opt/venv/lib/python{MINOR}/site-packages"
OUTPUTS = ("info", "layer", "overlaps", "paths")
Tree = dict[str, tuple[bool, bytes]]
"""Whether a file may be executed and what it holds, by path."""


@dataclass(frozen=True)
class Settled:
    """The layers of some wheels, lowest first and with that of the overlaps, which is the last."""

    layers: tuple[Path, ...]

    def output(self, name: str) -> bytes:
        return (self.layers[-1] / name).read_bytes()

    @property
    def overlaps(self) -> list[tuple[str, list[str]]]:
        return [
            (path.removeprefix(f"{SITE}/"), [wheel.partition("-")[0] for wheel in wheels])
            for path, wheels in json.loads(self.output("overlaps"))["paths"]
        ]

    @property
    def paths(self) -> list[PathEntry]:
        return parse_paths(self.output("paths"))

    def tree(self) -> Tree:
        """What a container sees of the layers."""
        found: Tree = {}
        for each in self.layers:
            if (each / "layer").stat().st_size:
                found |= unpacked(each / "layer")
        return found


def unpacked(file: Path) -> Tree:
    with tarfile.open(file, "r:gz") as archive:
        files = [(m, archive.extractfile(m)) for m in archive if m.isreg()]
        return {m.name: (bool(m.mode & 0o100), f.read()) for m, f in files if f}


def settle(folder: Path, *groups: Sequence[Path]) -> Settled:
    """What the tools make of wheels; each group shares a layer, the lowest comes first."""
    layers: list[Path] = []
    inputs: dict[str, Path] = {}
    for number, wheels in enumerate(groups):
        names = [wheel.name for wheel in wheels]
        params = {"python": MINOR, "prefix": "opt/venv", "wheels": names, "comment": "wheels"}
        made = folder / str(number)
        layer.run(make_work(made, params, {wheel.name: wheel for wheel in wheels}))
        layers.append(made)
        inputs |= {f"{kind}/{number:02d}": made / kind for kind in ("layer", "paths", "requires")}
    names = [f"{number:02d}" for number in range(len(groups))]
    params = {"comment": "overlaps", "layers": names}
    overlap.run(make_work(folder / "overlap", params, inputs, OUTPUTS))
    return Settled((*layers, folder / "overlap"))


def two(folder: Path, first: str | bytes, second: str | bytes) -> tuple[Path, Path]:
    """Wheels `one` and `two` that bring `LICENSE` with these contents."""
    one = make_wheel(folder, {"one.py": "", "LICENSE": first}, name="one")
    return one, make_wheel(folder, {"two.py": "", "LICENSE": second}, name="two")


def test_who_requires_the_wheels_is_said(tmp_path: Path) -> None:
    wanted = ["One.x >=1 ; python_version > '3'", "two; extra == 'all'"]
    made = [make_wheel(tmp_path, {"m.py": name}, name=name) for name in ("one_x", "two")]
    made.append(make_wheel(tmp_path, {"user.py": ""}, name="user", requires=wanted))
    said = json.loads(settle(tmp_path / "out", made[:1], made[1:]).output("overlaps"))
    assert said["required_by"] == {made[0].name: [made[2].name], made[1].name: []}


LAYERINGS = {"a pool": ((0, 1),), "the first below": ((0,), (1,)), "the last below": ((1,), (0,))}


@pytest.mark.parametrize("groups", LAYERINGS.values(), ids=LAYERINGS)
def test_the_last_by_file_name_wins_in_every_layering(
    tmp_path: Path, groups: Sequence[Sequence[int]]
) -> None:
    wheels = two(tmp_path, "of one", "of two")
    found = settle(tmp_path / "out", *([wheels[n] for n in group] for group in groups))
    assert found.tree()[f"{SITE}/LICENSE"] == (False, b"of two")
    assert found.overlaps == [("LICENSE", ["one", "two"])]
    (entry,) = [entry for entry in found.paths if entry.path.endswith("/LICENSE")]
    assert entry.owner == wheels[1].name
    assert bool(found.output("layer")) == (groups == LAYERINGS["the last below"])


@pytest.mark.parametrize("text", ["same", "large" * HASHED])
@pytest.mark.parametrize("groups", LAYERINGS.values(), ids=LAYERINGS)
def test_equal_files_are_no_overlap(
    tmp_path: Path, groups: Sequence[Sequence[int]], text: str
) -> None:
    wheels = two(tmp_path, text, text)
    found = settle(tmp_path / "out", *([wheels[n] for n in group] for group in groups))
    assert (found.overlaps, found.output("layer"), found.output("info")) == ([], b"", b"")


def forged(data: bytes, crc32: int) -> bytes:
    """`data` and four bytes more, so that the whole has this CRC-32, which is linear in them."""

    def with_tail(tail: int) -> int:
        return zlib.crc32(data + tail.to_bytes(4, "little"))

    rows = [(with_tail(1 << bit) ^ with_tail(0), 1 << bit) for bit in range(32)]
    wanted, tail = crc32 ^ with_tail(0), 0
    for bit in range(32):
        pivot = next(row for row in rows if row[0] >> bit & 1)
        rows.remove(pivot)
        rows = [(r[0] ^ pivot[0], r[1] ^ pivot[1]) if r[0] >> bit & 1 else r for r in rows]
        if wanted >> bit & 1:
            wanted, tail = wanted ^ pivot[0], tail ^ pivot[1]
    return data + tail.to_bytes(4, "little")


@pytest.mark.parametrize("size", [8, 4 * HASHED])
@pytest.mark.parametrize("groups", LAYERINGS.values(), ids=LAYERINGS)
def test_a_forged_pair_of_one_size_and_crc_is_told_apart(
    tmp_path: Path, groups: Sequence[Sequence[int]], size: int
) -> None:
    honest = b"import safe\n" + b"#" * size
    evil = forged(b"import evil\n" + b"#" * (size - 4), zlib.crc32(honest))
    assert (len(evil), zlib.crc32(evil)) == (len(honest), zlib.crc32(honest))
    wheels = two(tmp_path, honest, evil)
    found = settle(tmp_path / "out", *([wheels[n] for n in group] for group in groups))
    assert found.tree()[f"{SITE}/LICENSE"] == (False, evil)
    assert found.overlaps == [("LICENSE", ["one", "two"])]


def test_the_mode_is_that_of_the_last_and_no_overlap(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, {"run.sh": "#!"}, name="one", executable=["run.sh"])
    last = make_wheel(tmp_path, {"run.sh": "#!"}, name="two")
    for number, groups in enumerate(([[one, last]], [[one], [last]], [[last], [one]])):
        found = settle(tmp_path / str(number), *groups)
        assert (found.tree()[f"{SITE}/run.sh"], found.overlaps) == ((False, b"#!"), [])


def test_an_equal_file_after_a_different_one_wins(tmp_path: Path) -> None:
    """The layer of the first and the last, which agree, lies below that of the one between."""
    texts = {"a": "same", "b": "other", "c": "same"}
    a, b, c = (make_wheel(tmp_path, {"x.py": text}, name=name) for name, text in texts.items())
    found = settle(tmp_path / "out", [a, c], [b])
    assert found.tree()[f"{SITE}/x.py"] == (False, b"same")
    assert found.overlaps == [("x.py", ["a", "b", "c"])]


@pytest.mark.parametrize("groups", [((0, 1), (2,)), ((2,), (0, 1)), ((1,), (2,), (0,))])
def test_large_files_of_one_size_are_told_apart_by_their_bytes(
    tmp_path: Path, groups: Sequence[Sequence[int]]
) -> None:
    """Of three with one CRC-32, where a pool knows a sha256 and a layer of one wheel does not."""
    honest = b"#" * (2 * HASHED)
    evil = forged(b"!" * (2 * HASHED - 4), zlib.crc32(honest))
    contents = {"a": honest, "b": evil, "c": honest}
    wheels = [make_wheel(tmp_path, {"x": data}, name=name) for name, data in contents.items()]
    found = settle(tmp_path / "out", *([wheels[n] for n in group] for group in groups))
    assert found.tree()[f"{SITE}/x"] == (False, honest)
    assert found.overlaps == [("x", ["a", "b", "c"])]


def test_what_layers_alone_cannot_settle(tmp_path: Path) -> None:
    """Each of two layers would have to lie above the other."""
    a = make_wheel(tmp_path, {"x.py": "a"}, name="a")
    b = make_wheel(tmp_path, {"x.py": "b", "y.py": "b"}, name="b")
    c = make_wheel(tmp_path, {"y.py": "c"}, name="c")
    for number, groups in enumerate(([[a, c], [b]], [[b], [a, c]])):
        tree = settle(tmp_path / str(number), *groups).tree()
        assert (tree[f"{SITE}/x.py"][1], tree[f"{SITE}/y.py"][1]) == (b"b", b"c")


def test_names_that_differ_in_case_or_unicode_form_are_two_files(tmp_path: Path) -> None:
    """As they are to the file systems of Linux."""
    names = ("LICENSE", "license", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\u0301")
    one, last = (
        make_wheel(tmp_path, dict.fromkeys(names[n::2], wheel), name=wheel)
        for n, wheel in enumerate(("one", "two"))
    )
    found = settle(tmp_path / "out", [last], [one])
    assert found.overlaps == []
    assert [found.tree()[f"{SITE}/{name}"][1] for name in names] == [b"one", b"two"] * 2


def test_two_spellings_of_a_command_s_name_are_two_commands(tmp_path: Path) -> None:
    points = [{"entry_points.txt": f"[console_scripts]\n{n} = m:f\n"} for n in ("a-b", "a_b")]
    wheels = [make_wheel(tmp_path, {}, name=n, info=p) for n, p in zip("xy", points, strict=True)]
    found = settle(tmp_path / "out", wheels)
    assert {"opt/venv/bin/a-b", "opt/venv/bin/a_b"} <= found.tree().keys()
    assert found.overlaps == []


def test_the_bytes_of_the_layer_do_not_depend_on_how_a_wheel_is_packed(tmp_path: Path) -> None:
    big = bytes(range(256)) * 20_000
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        folder = tmp_path / str(method)
        folder.mkdir()
        one = make_wheel(folder, {"x.bin": "short"}, name="one")
        last = make_wheel(folder, {"x.bin": big}, name="two", method=method)
        made.append(settle(folder / "out", [last], [one]))
    assert {found.tree()[f"{SITE}/x.bin"][1] for found in made} == {big}
    assert len({found.output("layer") for found in made}) == 1


# Whatever pip makes of wheels that are installed one by one in the order of BUILD.lock.

PIP = """
import sys
from pip._internal.cli.main import main
for wheel in sys.argv[2:]:
    options = ["--no-deps", "--no-index", "--no-compile", "--ignore-installed", "--prefix"]
    if main(["-q", "install", "--no-warn-script-location", *options, sys.argv[1], wheel]):
        sys.exit(1)
"""
_NOT_COMPARED = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")


def installed(wheels: Sequence[Path], folder: Path) -> Tree | None:
    """What pip leaves below `folder`; None where it fails."""
    command = [sys.executable, "-c", PIP, str(folder / "opt/venv"), *map(str, wheels)]
    if subprocess.run(command, capture_output=True).returncode:
        return None
    files = [path for path in folder.glob("**/*") if path.is_file()]
    return {
        str(path.relative_to(folder)): (bool(path.stat().st_mode & 0o100), path.read_bytes())
        for path in files
    }


def compared(tree: Tree) -> Tree:
    """A tree without what differs for other reasons: who installed, and where Python lies."""
    return {
        path: (executable, command(data) if "/bin/" in path else data)
        for path, (executable, data) in tree.items()
        if path.rpartition("/")[2] not in _NOT_COMPARED
    }


def command(script: bytes) -> bytes:
    """The import of a generated command, and of another script all but the first line."""
    found = re.search(rb"^from \S+ import \S+$", script, re.MULTILINE)
    return found[0] if found else script.partition(b"\n")[2]


def records(tree: Tree) -> dict[str, set[str]]:
    """The rows of each RECORD, without what installers add and the hashes of commands."""
    found = {}
    for path, (_, data) in tree.items():
        if path.endswith(".dist-info/RECORD"):
            rows = [row.split(",")[:2] for row in data.decode().splitlines()]
            found[path] = {
                name if "/bin/" in name else f"{name},{hashed}"
                for name, hashed in rows
                if name.rpartition("/")[2] not in _NOT_COMPARED
            }
    return found


NAMES = ("Beta", "alpha", "c_c", "delta")
FILES = (
    "LICENSE",
    "license",
    "tests/__init__.py",
    "tests/conftest.py",
    "mod.py",
    "tests",
    "run.sh",
)
TEXTS = st.sampled_from(["", "#", "1\n", "22\n", "1" * 70_000, "2" * 70_000])


@st.composite
def one_wheel(draw: st.DrawFn) -> dict[str, str]:
    """The files of a wheel, some of which other wheels have as well; no file is a directory."""
    files = draw(st.dictionaries(st.sampled_from(FILES), TEXTS, max_size=5))
    if any(name.startswith("tests/") for name in files):
        files.pop("tests", None)
    if draw(st.booleans()):
        files[draw(st.sampled_from([".data/data/share/x", ".data/scripts/tool"]))] = draw(TEXTS)
    elif draw(st.booleans()):
        files["entry_points.txt"] = f"[console_scripts]\ntool = {draw(st.sampled_from('xy'))}:f\n"
    return files


def written(folder: Path, name: str, files: dict[str, str], executable: bool) -> Path:
    points = {n: text for n, text in files.items() if n == "entry_points.txt"}
    placed = {
        f"{name}-1.0{n}" if n.startswith(".data") else n: f"#!python\n{text}"
        if "tool" in n
        else text
        for n, text in files.items()
        if n not in points
    }
    modes = [*placed] if executable else [n for n in placed if "tool" in n]
    return make_wheel(folder, placed, name=name, info=points, executable=modes)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    wheels=st.lists(st.tuples(one_wheel(), st.booleans()), min_size=2, max_size=len(NAMES)),
    stack=st.lists(st.integers(0, 2), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_the_tree_is_the_one_that_pip_leaves(
    wheels: list[tuple[dict[str, str], bool]], stack: list[int]
) -> None:
    """`stack` gives the layer of each wheel."""
    with TemporaryDirectory() as created:
        folder = Path(created)
        made = [written(folder, name, *w) for name, w in zip(NAMES, wheels, strict=False)]
        groups = [[w for w, at in zip(made, stack, strict=False) if at == n] for n in range(3)]
        theirs = installed(sorted(made, key=lambda wheel: wheel.name), folder / "pip")
        try:
            ours = settle(folder / "out", *(group for group in groups if group))
            check_paths(ours.paths)
        except ActionError:
            assert theirs is None
            return
        assert theirs is not None
        assert compared(ours.tree()) == compared(theirs)
        assert records(ours.tree()) == records(theirs)
        told = {path for path, _ in ours.overlaps}
        assert told == {path.removeprefix(f"{SITE}/") for path in differing(made, folder)}


def differing(wheels: Sequence[Path], folder: Path) -> set[str]:
    """The paths for which the layers of single wheels hold different bytes."""
    found: dict[str, set[bytes]] = {}
    for number, wheel in enumerate(wheels):
        alone = settle(folder / f"alone{number}", [wheel])
        for path, (_, data) in alone.tree().items():
            found.setdefault(path, set()).add(data)
    return {path for path, contents in found.items() if len(contents) > 1}
