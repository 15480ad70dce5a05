"""The rings of docs/design.md: inner never imports outer, and each third party has its home."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PACKAGES = {  # folder -> its module
    "mfbuild": "mfbuild",
    "build_rules": "mfbuild.rules",
    "metaflow_extensions": "metaflow_extensions",
}

RINGS = (
    ("mfbuild.runtime",),  # the image's own: imports nothing of ours
    ("mfbuild.errors", "mfbuild.__init__"),
    ("mfbuild.files",),
    ("mfbuild.engine",),
    ("mfbuild.http",),
    ("mfbuild.oci",),
    ("mfbuild.python", "mfbuild.debian", "mfbuild.flow", "mfbuild.flyte"),
    ("mfbuild.bases", "mfbuild.bundle"),
    ("mfbuild.config", "mfbuild.report"),
    ("mfbuild.rules",),
    ("mfbuild.build",),
    ("mfbuild.local",),
    ("mfbuild.push",),
    ("mfbuild.executions",),
    ("mfbuild.cli", "mfbuild.__main__"),
    ("metaflow_extensions",),
)

HOMES = {
    "metaflow": {"mfbuild.flow", "mfbuild.runtime", "metaflow_extensions"},
    "flyteidl": {
        "mfbuild.flyte",
        "mfbuild.local",
        "mfbuild.push",
        "mfbuild.executions",
        "metaflow_extensions",
    },
    "grpc": {"mfbuild.flyte"},
    "docker": {"mfbuild.oci.daemon"},
    "tomli": {"mfbuild.config", "mfbuild.bases", "mfbuild.python"},
    "deflate": {"mfbuild.oci.gzip"},
    "flytekit": {"mfbuild.flyte.admin.login"},
    "requests": {"mfbuild.oci", "mfbuild.python", "mfbuild.debian", "mfbuild.flyte.admin"},
    "uv": {"mfbuild.python"},
    "packaging": {"mfbuild.python"},
    "pathspec": {"mfbuild.flow"},
}

STDLIB_ONLY = (
    "mfbuild.errors",
    "mfbuild.files",
    "mfbuild.engine",
    "mfbuild.report",
    "mfbuild.rules",
)


def modules() -> dict[str, Path]:
    return {
        ".".join((package, *file.relative_to(ROOT / folder).with_suffix("").parts)): file
        for folder, package in PACKAGES.items()
        for file in ROOT.glob(f"{folder}/**/*.py")
    }


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def ring(module: str) -> int | None:
    for number, names in enumerate(RINGS):
        if any(module == n or module.startswith(f"{n}.") for n in names):
            return number
    return None


def ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def test_every_module_has_a_ring() -> None:
    assert [m for m in modules() if ring(m) is None] == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_an_inner_ring_never_imports_an_outer_one(module: str) -> None:
    own = ring(module)
    assert own is not None
    outward = [
        name
        for name in imports(modules()[module])
        if ours(name) and name != "mfbuild" and (ring(name) or 0) > own
    ]
    assert outward == []


def test_each_third_party_has_its_homes() -> None:
    strays = [
        f"{module} imports {name}"
        for module, path in modules().items()
        for name in imports(path)
        if (homes := HOMES.get(name.split(".")[0]))
        and not any(module == h or module.startswith(f"{h}.") for h in homes)
    ]
    assert strays == []


def test_the_inner_rings_use_the_standard_library_alone() -> None:
    import sys

    strays = [
        f"{module} imports {name}"
        for module, path in modules().items()
        if module.startswith(STDLIB_ONLY)
        for name in imports(path)
        if not ours(name) and name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert strays == []


def test_rules_and_pure_stages_do_no_input_or_output() -> None:
    banned = {"os", "io", "subprocess", "time", "socket", "pathlib", "shutil", "tempfile"}
    stages = ("mfbuild.rules", "mfbuild.build.analyze", "mfbuild.build.environments")
    pure = (*stages, "mfbuild.engine.plan", "mfbuild.engine.key", "mfbuild.engine.graph")
    strays = [
        f"{module} imports {name}"
        for module, path in modules().items()
        if module.startswith(pure)
        for name in imports(path)
        if name.split(".")[0] in banned
    ]
    assert strays == []


def test_no_file_is_longer_than_400_lines() -> None:
    files = [f for d in (*PACKAGES, "tests", "bench") for f in ROOT.glob(f"{d}/**/*.py")]
    assert [f.name for f in files if len(f.read_text().splitlines()) > 400] == []


def test_every_module_begins_with_one_sentence() -> None:
    silent = [m for m, p in modules().items() if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_the_environment_is_read_where_a_process_begins() -> None:
    """A command's is in its Config; the others are processes of their own, or their beginning."""
    entries = {
        "mfbuild.cli.options",
        "mfbuild.flow.probe_record",
        "mfbuild.flyte.admin.__init__",
        "mfbuild.local.embedded.__main__",
        "mfbuild.local.sandbox.launcher",
        "mfbuild.runtime.main",
        "mfbuild.runtime.step",
        "mfbuild.runtime.warm",
        "metaflow_extensions.mfbuild.plugins.flyte.claims",
    }
    inherited = {
        "mfbuild.debian.fetch",
        "mfbuild.flyte.admin.upload",
        "mfbuild.oci.transport",
    }
    readers = {module for module, path in modules().items() if reads_the_environment(path)}
    assert readers == entries | inherited


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
