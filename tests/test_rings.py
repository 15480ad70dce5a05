"""The rings of docs/design.md: inner never imports outer, and what is pure stays so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import rings
from tests.imports import modules, reached
from tests.rings import ROOT

OURS = rings.ours()
RINGS = rings.read_rings((ROOT / "docs/design.md").read_text())

PURE = (
    *("mfbuild.rules", "mfbuild.build.analyze", "mfbuild.build.environments"),
    *("mfbuild.engine.plan", "mfbuild.engine.key", "mfbuild.engine.graph"),
    "mfbuild.local.workflow",
)
BANNED = {"os", "io", "subprocess", "time", "socket", "pathlib", "shutil", "tempfile"}

STDLIB_ONLY = (
    "mfbuild.errors",
    "mfbuild.files",
    "mfbuild.engine",
    "mfbuild.report",
    "mfbuild.rules",
)


def test_every_module_has_a_ring() -> None:
    assert [m for m in OURS if rings.ring_of(m, RINGS) is None] == []


def test_every_ring_has_modules() -> None:
    assert [p for ring in RINGS for p in ring if not any(rings.within(m, [p]) for m in OURS)] == []


def test_an_inner_ring_never_imports_an_outer_one() -> None:
    assert rings.outward(OURS, RINGS) == []


def test_rules_and_pure_stages_do_no_input_or_output() -> None:
    assert rings.impure(OURS, PURE, BANNED) == []


@pytest.mark.parametrize("module", [m for m in OURS if rings.within(m, STDLIB_ONLY)])
def test_the_inner_rings_begin_with_the_standard_library_alone(module: str) -> None:
    assert rings.begun(OURS, module) == []


def test_they_never_use_another() -> None:
    users = rings.third_parties(OURS)
    assert [f"{m} imports {name}" for m, name in users if rings.within(m, STDLIB_ONLY)] == []


def test_the_command_line_begins_with_the_standard_library_alone() -> None:
    assert rings.begun(OURS, "mfbuild.__main__") == []
    assert rings.begun(OURS, "mfbuild.cli.main") == []


def test_metaflow_finds_its_extension_without_mfbuild() -> None:
    """Every flow imports this; the command group is imported by `python flow.py` alone."""
    exports = "metaflow_extensions.mfbuild.toplevel.exports"
    commands = "metaflow_extensions.mfbuild.plugins.flyte.cli"
    ways = reached([exports, commands], OURS, late=False)
    assert [" > ".join(way) for name, way in ways.items() if name.split(".")[0] == "mfbuild"] == []


def test_what_is_called_first_leaves_mfbuild_to_what_brings_it_in() -> None:
    """`installed()` is around the command group, `Launch` and `stand_in`, and no one else."""
    first = [f"metaflow_extensions.mfbuild.plugins.flyte.{n}" for n in ("claims", "decorators")]
    first += [f"metaflow_extensions.mfbuild.plugins.flyte.{n}" for n in ("deployed", "deployer")]
    found = {i.name for module in first for i in OURS[module] if not i.typing}
    assert [name for name in found if name.split(".")[0] == "mfbuild"] == []


def test_no_file_is_longer_than_400_lines() -> None:
    files = [f for d in (*rings.FOLDERS, "tests", "bench") for f in ROOT.glob(f"{d}/**/*.py")]
    assert [f.name for f in files if len(f.read_text().splitlines()) > 400] == []


def test_every_module_begins_with_one_sentence() -> None:
    read = modules(ROOT, rings.FOLDERS)
    silent = [m for m, p in read.items() if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_the_environment_is_read_where_a_process_begins() -> None:
    """A command's is in its Config; the others are processes of their own, or their beginning."""
    read = modules(ROOT, rings.FOLDERS)
    assert {module for module, path in read.items() if reads_the_environment(path)} == {
        "metaflow_extensions.mfbuild.plugins.flyte.remote",
        "mfbuild.cli.options",
        "mfbuild.flow.probe_record",
        "mfbuild.flyte.admin",
        "mfbuild.local.embedded.__main__",
        "mfbuild.local.sandbox.launcher",
        "mfbuild.runtime.main",
        "mfbuild.runtime.step",
        "mfbuild.runtime.warm",
        "metaflow_extensions.mfbuild.plugins.flyte.claims",
    }


def reads_the_environment(path: Path) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        names & {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom)
        else node.attr in names and ast.unparse(node.value) == "os"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        or (isinstance(node, ast.ImportFrom) and node.module == "os")
    )
