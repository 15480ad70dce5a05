"""What the project's own files must agree on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tomli

from mfbuild import config
from tests import rings

ROOT = Path(__file__).parent.parent
PACKAGES = rings.read_packages((ROOT / "docs/dependencies.md").read_text())
BUILD_TOML = (ROOT / "docs/build-toml.md").read_text()
EXAMPLE = BUILD_TOML.split("```toml\n")[1].split("```")[0]
_VARIABLE = re.compile(r"\bMFBUILD_[A-Z][A-Z_]*[A-Z]\b")
PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_holds_every_package() -> None:
    folders = {
        f.parent for d in ("mfbuild", "metaflow_extensions") for f in ROOT.glob(f"{d}/**/*.py")
    }
    packages = {".".join(f.relative_to(ROOT).parts) for f in folders}
    packages |= {"metaflow_extensions", "metaflow_extensions.mfbuild"}
    packages |= {*PROJECT["tool"]["setuptools"]["package-dir"]}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages


def test_every_import_of_a_third_party_is_justified() -> None:
    graph = rings.ours()
    assert rings.homeless(graph, PACKAGES) == []
    assert rings.deserted(graph, PACKAGES) == []


def test_the_dependencies_are_those_that_are_justified() -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    needed = [*PROJECT["project"]["dependencies"], *(d for extra in extras for d in extra)]
    assert sorted(needed) == sorted(p.name + p.version for p in PACKAGES if p.version)
    assert [
        p.name for p in PACKAGES if not p.version and p.homes != ("mfbuild.runtime.storage",)
    ] == []
    assert [p.name for p in PACKAGES if not (p.when and p.why)] == []


def test_every_python_that_is_supported_is_classified() -> None:
    prefix = "Programming Language :: Python :: 3."
    said = [c.removeprefix(prefix) for c in PROJECT["project"]["classifiers"] if prefix in c]
    numbers = [int(number) for number in said]
    assert numbers == [*range(numbers[0], numbers[-1] + 1)]
    wanted = f">=3.{numbers[0]},<3.{numbers[-1] + 1}"
    assert PROJECT["project"]["requires-python"] == wanted


def test_every_dependency_is_locked() -> None:
    locked = (ROOT / "requirements.lock").read_text()
    wanted = (ROOT / "requirements.in").read_text().splitlines()
    names = [w.split("=")[0] for w in wanted if w and not w.startswith("#")]
    assert [n for n in names if f"\n{n}==" not in f"\n{locked}"] == []


def test_every_verb_is_in_the_readme() -> None:
    from mfbuild.cli.main import VERBS

    text = (ROOT / "README.md").read_text()
    assert [v for v in VERBS if f"`mfbuild {v}" not in text] == []


def test_documents_name_files_that_exist() -> None:
    texts = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    named = {
        (text.name, name)
        for text in texts
        for name in re.findall(
            r"`((?:tests|build_rules|images|examples|bench)/[\w./-]*)`", text.read_text()
        )
    }
    assert [n for n in sorted(named) if not (ROOT / n[1]).exists()] == []


def test_the_example_of_build_toml_is_right(tmp_path: Path) -> None:
    (tmp_path / "BUILD.toml").write_text(EXAMPLE)
    found = config.read_config(tmp_path, {"HOME": str(tmp_path)}, {})
    assert found.target("//flows/train.py", "fit").base == "cuda12"


def test_every_key_of_build_toml_is_in_the_example() -> None:
    tables: dict[str, Any] = tomli.loads(EXAMPLE)
    domain = tables["domain"]["production"]
    flow, step = tables["target"].values()
    assert tables.keys() == {"workspace", "flyte", "domain", "target"}
    assert tables["workspace"].keys() == config.WORKSPACE.keys()
    assert tables["flyte"].keys() == config.FLYTE.keys()
    assert domain.keys() == config.DOMAIN.keys()
    assert flow.keys() == config.FLOW_TARGET.keys()
    assert step.keys() == config.STEP_TARGET.keys()
    assert step["resources"].keys() == {*config.RESOURCES}


def test_every_variable_is_documented() -> None:
    """Those of people beside the keys; those of pods in docs/flyte.md."""
    sources = [f for d in ("mfbuild", "metaflow_extensions") for f in (ROOT / d).glob("**/*.py")]
    read = {name for source in sources for name in _VARIABLE.findall(source.read_text())}
    read |= {f"MFBUILD_{name.upper()}" for name in (*config.VARIABLES, *config.FLYTE_VARIABLES)}
    pods = (ROOT / "docs/flyte.md").read_text()
    assert {*_VARIABLE.findall(BUILD_TOML), *_VARIABLE.findall(pods)} == read


def test_every_variable_of_a_key_is_beside_it() -> None:
    for name in config.VARIABLES:
        assert re.search(rf"\| `workspace\.{name}` \|.*\| `MFBUILD_{name.upper()}`", BUILD_TOML)
