"""What holds the rings finds every way to break them: packages on disk with one each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import rings
from tests.imports import Graph, graph, modules, reached

RINGS = rings.read_rings("""
## Rings

```
errors __init__     text of no interest
engine/             more of it
build_rules/ flow/
cli/ __main__
metaflow_extensions/
```
""")

INNOCENT = {
    "mfbuild/__init__.py": "",
    "mfbuild/errors.py": "",
    "mfbuild/engine/__init__.py": "",
    "mfbuild/engine/store.py": "import os\nfrom mfbuild.errors import Problem",
    "mfbuild/engine/plan.py": "import json",
    "mfbuild/flow/__init__.py": "",
    "mfbuild/cli/__init__.py": "",
    "mfbuild/cli/main.py": "from mfbuild import __version__\nfrom mfbuild.engine import store",
    "mfbuild/__main__.py": "def main():\n    import mfbuild.cli.main",
    "build_rules/__init__.py": "",
    "build_rules/image.py": "from mfbuild.engine.plan import Plan",
    "metaflow_extensions/mfbuild/cli.py": "def flyte():\n    from mfbuild.cli import main",
}


def read(root: Path, changed: Mapping[str, str]) -> Graph:
    """The imports of a small project in which `changed` files say something else."""
    for name, text in {**INNOCENT, **changed}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return graph(modules(root, rings.FOLDERS))


def test_the_rings_are_read() -> None:
    assert RINGS == [
        ["mfbuild.errors", "mfbuild"],
        ["mfbuild.engine"],
        ["mfbuild.rules", "mfbuild.flow"],
        ["mfbuild.cli", "mfbuild.__main__"],
        ["metaflow_extensions"],
    ]


def test_an_innocent_project(tmp_path: Path) -> None:
    found = read(tmp_path, {})
    assert [module for module in found if rings.ring_of(module, RINGS) is None] == []
    assert rings.outward(found, RINGS) == []
    assert rings.impure(found, ["mfbuild.engine.plan", "mfbuild.rules"], {"os"}) == []
    assert list(rings.third_parties(found)) == []
    assert rings.begun(found, "mfbuild.cli.main") == []


@pytest.mark.parametrize(
    "text",
    [
        "import mfbuild.cli.main",
        "import mfbuild.cli.main as outer",
        "from mfbuild.cli.main import run",
        "from mfbuild.cli import main",
        "from mfbuild import cli, errors",
        "from .. import cli",
        "from ..cli import main",
        "from ..cli.main import run",
        "def late():\n    from mfbuild.cli import main",
        "if TYPE_CHECKING:\n    from mfbuild.cli import main",
        "try:\n    import mfbuild.cli\nexcept ImportError:\n    pass",
        "from importlib import import_module\nimport_module('mfbuild.cli.main')",
        "import importlib\nimportlib.import_module(f'mfbuild.cli.{verb}')",
        "__import__('mfbuild.cli')",
        "TOOL = tool(1, 'mfbuild.cli.main:run')",
        "MODULES = ('mfbuild.cli.main',)",
        "import metaflow_extensions.mfbuild.cli",
    ],
)
def test_an_inner_ring_imports_an_outer_one(tmp_path: Path, text: str) -> None:
    found = rings.outward(read(tmp_path, {"mfbuild/engine/plan.py": text}), RINGS)
    assert found and all(line.startswith("mfbuild.engine.plan:") for line in found)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("mfbuild/engine/plan.py", "'mfbuild.cli.main is not to be imported'"),
        ("mfbuild/engine/plan.py", "from . import store"),
        ("mfbuild/engine/__init__.py", "from .plan import Plan"),
        ("mfbuild/cli/main.py", "from ..flow import spec"),
        ("mfbuild/cli/main.py", "from mfbuild import rules"),
    ],
)
def test_what_may_be_imported(tmp_path: Path, file: str, text: str) -> None:
    assert rings.outward(read(tmp_path, {file: text}), RINGS) == []


@pytest.mark.parametrize("own", ["import os", "import os.path", "from os import path"])
def test_a_pure_module_is_not(tmp_path: Path, own: str) -> None:
    found = read(tmp_path, {"build_rules/image.py": own})
    assert rings.impure(found, ["mfbuild.rules"], {"os"}) != []


@pytest.mark.parametrize(
    "text",
    [
        "from mfbuild.engine import store",
        "from .store import Store",
        "def late():\n    from .store import Store",
        "TOOL = 'mfbuild.engine.store:Store'",
        "from mfbuild.errors import Problem",
    ],
)
def test_a_pure_module_imports_one_that_is_not(tmp_path: Path, text: str) -> None:
    errors = "from mfbuild.flow import spec"
    files = {"mfbuild/errors.py": errors, "mfbuild/flow/spec.py": "import os"}
    found = read(tmp_path, {"mfbuild/engine/plan.py": text, **files})
    (way,) = rings.impure(found, ["mfbuild.rules"], {"os"})
    assert way.startswith("mfbuild.rules.image > mfbuild.engine.plan > ") and way.endswith(" > os")


def test_a_package_that_is_not_pure_is_imported_with_its_modules(tmp_path: Path) -> None:
    found = read(tmp_path, {"mfbuild/engine/__init__.py": "import os"})
    (way,) = rings.impure(found, ["mfbuild.rules"], {"os"})
    assert way == "mfbuild.rules.image > mfbuild.engine.plan > mfbuild.engine > os"


def test_what_is_for_types_alone_makes_nothing_impure(tmp_path: Path) -> None:
    text = "if typing.TYPE_CHECKING:\n    from .store import Store\nelse:\n    import json"
    found = read(tmp_path, {"mfbuild/engine/plan.py": text})
    assert rings.impure(found, ["mfbuild.engine.plan"], {"os"}) == []
    other = text.replace("import json", "import os")
    found = read(tmp_path, {"mfbuild/engine/plan.py": other})
    assert rings.impure(found, ["mfbuild.engine.plan"], {"os"}) == ["mfbuild.engine.plan > os"]


def test_third_parties_are_found_where_they_are_imported(tmp_path: Path) -> None:
    late = "def late():\n    from requests.adapters import HTTPAdapter"
    named = "import_module('metaflow.plugins')"
    found = read(tmp_path, {"mfbuild/errors.py": late, "mfbuild/flow/spec.py": named})
    assert sorted(rings.third_parties(found)) == [
        ("mfbuild.errors", "requests.adapters"),
        ("mfbuild.flow.spec", "metaflow.plugins"),
    ]


def test_what_a_module_begins_with(tmp_path: Path) -> None:
    now, late = "import requests", "def late():\n    import requests"
    found = read(tmp_path, {"mfbuild/errors.py": now})
    ways = ["mfbuild.cli.main > mfbuild.engine.store > mfbuild.errors > requests"]
    assert rings.begun(found, "mfbuild.cli.main") == ways
    found = read(tmp_path, {"mfbuild/errors.py": late})
    assert rings.begun(found, "mfbuild.cli.main") == []
    assert "requests" in reached(["mfbuild.cli.main"], found, late=True)


DEPENDENCIES = """
| package | version | as | by | when | why |
|---|---|---|---|---|---|
| requests | >=2 | `requests` | `engine/`, `cli/main.py` | always | it is |
| protobuf | | `google.protobuf` | `flow/probe*` | in the child | messages |
"""
PACKAGES = rings.read_packages(DEPENDENCIES)


def test_the_table_is_read() -> None:
    assert [(p.name, p.version, p.imported_as, p.homes) for p in PACKAGES] == [
        ("requests", ">=2", "requests", ("mfbuild.engine", "mfbuild.cli.main")),
        ("protobuf", "", "google.protobuf", ("mfbuild.flow.probe*",)),
    ]


def test_a_home_that_nobody_lives_in(tmp_path: Path) -> None:
    found = read(tmp_path, {"mfbuild/engine/plan.py": "import requests"})
    assert rings.homeless(found, PACKAGES) == []
    assert rings.deserted(found, PACKAGES) == [
        "mfbuild.cli.main does not import requests",
        "mfbuild.flow.probe* does not import google.protobuf",
    ]


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("mfbuild/cli/main.py", "import requests.adapters", []),
        ("mfbuild/flow/probe_code.py", "from google.protobuf import message", []),
        ("mfbuild/cli/run.py", "import requests", ["mfbuild.cli.run imports requests"]),
        (
            "mfbuild/flow/load.py",
            "import google.protobuf",
            ["mfbuild.flow.load imports google.protobuf"],
        ),
        (
            "mfbuild/flow/probe.py",
            "import google.cloud",
            ["mfbuild.flow.probe imports google.cloud"],
        ),
        ("mfbuild/engine/plan.py", "import attrs", ["mfbuild.engine.plan imports attrs"]),
        (
            "mfbuild/engine/plan.py",
            "import requests_oauth",
            ["mfbuild.engine.plan imports requests_oauth"],
        ),
    ],
)
def test_a_third_party_that_is_not_at_home(
    tmp_path: Path, file: str, text: str, told: list[str]
) -> None:
    assert rings.homeless(read(tmp_path, {file: text}), PACKAGES) == told
