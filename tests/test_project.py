"""What the project's own files must agree on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tomli

import mfbuild
from mfbuild import config
from mfbuild.config import build_toml
from tests import rings

ROOT = Path(__file__).parent.parent
TOPS = (*rings.FOLDERS,)
RULES = ROOT / "build_rules"
PACKAGES = rings.read_packages((ROOT / "docs/dependencies.md").read_text())
BUILD_TOML = (ROOT / "docs/build-toml.md").read_text()
EXAMPLE = BUILD_TOML.split("```toml\n")[1].split("```")[0]
_VARIABLE = re.compile(r"\bMFBUILD_[A-Z][A-Z_]*[A-Z]\b")
PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_holds_every_package() -> None:
    folders = {f.parent for top in TOPS for f in ROOT.glob(f"{top}/**/*.py")} - {RULES}
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


DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def test_documents_name_files_that_exist() -> None:
    folders = "bench|build_rules|docs|examples|images|metaflow_extensions|mfbuild|scripts|tests"
    named = {
        (text.name, name)
        for text in DOCUMENTS
        for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", text.read_text())
    }
    assert [n for n in sorted(named) if not (ROOT / n[1]).exists()] == []


def test_the_design_names_modules_that_exist() -> None:
    files = [file.as_posix() for file in ROOT.glob("*/**/*.py")]
    named = re.findall(r"`(\w[\w/]+\.py)`", (ROOT / "docs/design.md").read_text())
    assert [n for n in named if not any(file.endswith(f"/{n}") for file in files)] == []


@pytest.mark.parametrize("top", [*TOPS, "bench", "docs", "examples", "scripts", "tests"])
def test_references_lead_to_documents_of_ours(top: str) -> None:
    """Without the number of a section: ours have none."""
    suffixes = (".md", ".py", ".sh", ".toml", ".yml")
    files = {f for f in (ROOT / top).rglob("*") if f.suffix in suffixes} - {Path(__file__)}
    assert [told for file in sorted(files) for told in dangling(file)] == []


def dangling(file: Path) -> list[str]:
    """Each reference of `file` to a document that there is not, or to a number in one."""
    text = file.read_text()
    folders = (file.parent, ROOT, ROOT / "docs")
    names = re.findall(r"(?<!image-spec, )(?<![\w/:.-])((?:[\w-]+/)*[\w-]+\.md)\b", text)
    lost = [name for name in names if not any((folder / name).exists() for folder in folders)]
    return [f"{file}: {told}" for told in (*lost, *re.findall(r"\.md\W{1,3}\d[\d.]*", text))]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("docs/design.md has it, and (design.md)", []),
        ("[design](../docs/design.md)", []),
        ("https://github.com/opencontainers/image-spec/blob/main/layer.md", []),
        ("(image-spec, config.md)", []),
        ("hashlib.md5(data)", []),
        ("images.md has it", ["images.md"]),
        ("docs/images.md", ["docs/images.md"]),
        ("(design.md \N{SECTION SIGN}9)", [".md \N{SECTION SIGN}9"]),
        ("(design.md .5)", [".md .5"]),
        ("design.md, 3.3", [".md, 3.3"]),
    ],
)
def test_what_leads_nowhere_is_found(tmp_path: Path, text: str, told: list[str]) -> None:
    (tmp_path / "module.py").write_text(text)
    assert dangling(tmp_path / "module.py") == [f"{tmp_path / 'module.py'}: {t}" for t in told]


def test_the_example_of_build_toml_is_right(tmp_path: Path) -> None:
    (tmp_path / "BUILD.toml").write_text(EXAMPLE)
    found = config.read_config(tmp_path, {"HOME": str(tmp_path)}, {})
    assert found.target("//flows/train.py", "fit").base == "cuda12"


def test_every_key_of_build_toml_is_in_the_example() -> None:
    tables: dict[str, Any] = tomli.loads(EXAMPLE)
    domain = tables["domain"]["production"]
    flow, step = tables["target"].values()
    assert tables.keys() == {"workspace", "flyte", "domain", "target"}
    assert tables["workspace"].keys() == build_toml.WORKSPACE.keys()
    assert tables["flyte"].keys() == build_toml.FLYTE.keys()
    assert domain.keys() == build_toml.DOMAIN.keys()
    assert flow.keys() == build_toml.FLOW_TARGET.keys()
    assert step.keys() == build_toml.STEP_TARGET.keys()
    assert step["resources"].keys() == {*build_toml.RESOURCES}


def test_every_variable_is_documented() -> None:
    """Those of people beside the keys; those of pods in docs/flyte.md."""
    sources = [f for top in TOPS for f in (ROOT / top).glob("**/*.py")]
    read = {name for source in sources for name in _VARIABLE.findall(source.read_text())}
    read |= {f"MFBUILD_{name.upper()}" for name in (*config.VARIABLES, *config.FLYTE_VARIABLES)}
    pods = (ROOT / "docs/flyte.md").read_text()
    assert {*_VARIABLE.findall(BUILD_TOML), *_VARIABLE.findall(pods)} == read


def test_every_variable_of_a_key_is_beside_it() -> None:
    for name in config.VARIABLES:
        assert re.search(rf"\| `workspace\.{name}` \|.*\| `MFBUILD_{name.upper()}`", BUILD_TOML)


def test_links_of_documents_lead_somewhere() -> None:
    links = {
        (text, link)
        for text in DOCUMENTS
        for link in re.findall(r"\]\(([^):#]+)\)", text.read_text())
    }
    assert [(text.name, link) for text, link in links if not (text.parent / link).exists()] == []


def test_the_changelog_has_this_version() -> None:
    from mfbuild import __version__

    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_rooms_whose_coverage_is_measured_exist() -> None:
    measured = PROJECT["tool"]["coverage"]["run"]["source"]
    assert [room for room in measured if not (ROOT / room).is_dir()] == []


def test_the_extension_has_the_version_of_mfbuild() -> None:
    exports = (ROOT / "metaflow_extensions/mfbuild/toplevel/exports.py").read_text()
    assert f'__version__ = "{mfbuild.__version__}"' in exports
