"""What the project's own files must agree on."""

from __future__ import annotations

import re
from pathlib import Path

import tomli

from tests import rings

ROOT = Path(__file__).parent.parent
PACKAGES = rings.read_packages((ROOT / "docs/dependencies.md").read_text())
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
