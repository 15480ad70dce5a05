"""Which files go into the code tarball: as Metaflow itself selects them, made reproducible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mfbuild.errors import FlowError, UsageError
from mfbuild.flow.spec import CodeFile
from tests.deep import deep_file
from tests.flow.loading import FLOW, START, STEPS, Loader

GENERATED = [".mf_install", ".mf_meta/CONFIG", ".mf_meta/DIST_INFO", ".mf_meta/INFO"]


def tree(loader: Loader, *names: str, flow: str = FLOW) -> None:
    for name in names:
        path = loader.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (loader.workspace / "flow.py").write_text(flow)


def shipped(loader: Loader, *options: str) -> list[str]:
    """The names in the archive, besides the generated files that are always there."""
    names = [file.arcname for file in loader(options=options).spec.code]
    assert names[: len(GENERATED)] == GENERATED or set(GENERATED) <= set(names)
    return [name for name in names if name not in GENERATED]


def text(loader: Loader, arcname: str) -> str:
    found: CodeFile = next(f for f in loader().spec.code if f.arcname == arcname)
    assert found.text is not None
    return found.text


def test_suffixes_hidden_folders_and_order(loader: Loader) -> None:
    tree(loader, "b.py", "a/deep/x.py", "notes.txt", ".git/y.py", ".z.py", "__pycache__/c.py")
    assert shipped(loader) == ["a/deep/x.py", "b.py", "flow.py"]
    assert "notes.txt" in shipped(loader, "--package-suffixes", ".txt")


def test_links_are_followed_as_metaflow_does(loader: Loader) -> None:
    outside = loader.workspace.parent / "outside"
    outside.mkdir()
    (outside / "linked.py").write_text("")
    tree(loader)
    (loader.workspace / "folder").symlink_to(outside)
    (loader.workspace / "loop").symlink_to(loader.workspace)
    (loader.workspace / "one.py").symlink_to(outside / "linked.py")
    names = shipped(loader)
    assert {"flow.py", "folder/linked.py", "one.py"} <= set(names)
    (loader.workspace / "folder").unlink()
    (loader.workspace / "folder").mkdir()
    assert "folder/linked.py" not in shipped(loader)


def test_a_broken_link_is_refused_by_name(loader: Loader) -> None:
    tree(loader)
    (loader.workspace / "broken.py").symlink_to("nowhere")
    with pytest.raises(FlowError, match=r"`broken\.py` cannot be packaged"):
        loader()


def test_a_pipe_is_refused_and_not_waited_for(loader: Loader) -> None:
    tree(loader)
    os.mkfifo(loader.workspace / "pipe.py")
    with pytest.raises(FlowError, match=r"`pipe\.py` cannot be packaged: it is no regular file"):
        loader()


@pytest.mark.parametrize("name", ["odd\nname.py", "odd\x1b[31m.py", "odd\x7f.py"])
def test_a_name_with_control_characters_is_refused(loader: Loader, name: str) -> None:
    tree(loader, name)
    with pytest.raises(FlowError) as caught:
        loader()
    (problem,) = caught.value.problems
    shown = name.encode("unicode_escape").decode()
    assert problem.message == (
        f"the code file `{shown}` cannot be packaged: its name has control characters"
    )
    assert problem.where == "flow.py"


def test_folders_may_be_as_deep_as_a_path_is_long(loader: Loader) -> None:
    tree(loader)
    with deep_file(loader.workspace, "deep.py") as name:
        assert name in shipped(loader)


def test_ignored_files_stay_behind_but_never_the_flow(loader: Loader) -> None:
    tree(loader, "tests/a.py", "keep/b.py", "keep/c_test.py", "d_test.py")
    (loader.workspace / ".mfbuildignore").write_text("tests/\n*_test.py\n!d_test.py\nflow.py\n")
    assert shipped(loader) == ["d_test.py", "flow.py", "keep/b.py"]


def test_a_bad_pattern_is_a_usage_error(loader: Loader) -> None:
    tree(loader)
    (loader.workspace / ".mfbuildignore").write_text("!\n")
    with pytest.raises(UsageError, match="bad pattern"):
        loader()


def test_a_packaged_file_that_goes_is_noticed(loader: Loader) -> None:
    tree(loader, "a/b.py")
    assert shipped(loader) == ["a/b.py", "flow.py"]
    (loader.workspace / "a" / "b.py").unlink()
    assert shipped(loader) == ["flow.py"]


def test_what_a_mutator_adds_is_shipped_and_the_flow_only_once(loader: Loader) -> None:
    mutator = """
from metaflow import FlowMutator
from metaflow.packaging_sys import ContentType


class Adds(FlowMutator):
    def add_to_package(self):
        yield "data.csv", "data.csv", ContentType.USER_CONTENT
        yield "data.csv", "extra.csv", ContentType.CODE_CONTENT
"""
    flow = START.replace("class F", mutator.strip() + "\n\n\n@Adds\nclass F") + STEPS
    tree(loader, "data.csv", flow=flow)
    assert shipped(loader) == [".mf_code/extra.csv", "data.csv", "flow.py"]


def test_modules_that_ask_for_it_are_shipped(loader: Loader) -> None:
    library = loader.workspace.parent / "library" / "shared"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text('METAFLOW_PACKAGE_POLICY = "include"\n')
    (library / "part.py").write_text("")
    tree(loader, flow="import shared\n" + FLOW)
    spec = loader(PYTHONPATH=str(library.parent)).spec
    names = [file.arcname for file in spec.code if file.arcname not in GENERATED]
    modules = [".mf_code/shared/__init__.py", ".mf_code/shared/part.py"]
    assert names == [*modules, "flow.py"]
    marker = next(file.text for file in spec.code if file.arcname == ".mf_install")
    assert json.loads(marker or "") == {"version": 1, "module_files": modules}


def test_the_generated_files_know_nothing_of_user_and_host(loader: Loader) -> None:
    tree(loader)
    info = json.loads(text(loader, ".mf_meta/INFO"))
    assert info.keys() == {"metaflow_version", "script", "use_r", "environment_type"}
    assert info["script"] == "flow.py"
    other = loader(METAFLOW_USER="someone", TZ="Asia/Tokyo", LC_ALL="C.UTF-8", PYTHONHASHSEED="7")
    assert not other.cached
    assert other.spec == loader().spec


def test_an_included_file_that_is_missing_is_told(loader: Loader) -> None:
    flow = (
        START.replace("Parameter", "IncludeFile") + '    p = IncludeFile("p", default="no.txt")\n'
    )
    tree(loader, flow=flow + STEPS)
    with pytest.raises(FlowError, match=r"parameter `p` includes the file `no\.txt`"):
        loader()


def test_extensions_and_metaflow_without_a_wheel_ship_their_sources(
    loader: Loader, tmp_path: Path
) -> None:
    """An extension on PYTHONPATH, and a Metaflow that is found before the installed one."""
    extension = tmp_path / "extension" / "metaflow_extensions" / "acme" / "plugins"
    extension.mkdir(parents=True)
    (extension / "mfextinit_acme.py").write_text("STEP_DECORATORS_DESC = []\n")
    copy = tmp_path / "copy"
    script = "import metaflow, shutil, sys; shutil.copytree(metaflow.__path__[0], sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(copy / "metaflow")], check=True)
    tree(loader)
    host = loader(PYTHONPATH=f"{copy}:{tmp_path / 'extension'}").spec.host
    assert [source.name for source in host.sources] == ["metaflow", "metaflow_extensions.acme"]
    metaflow, acme = host.sources
    names = {file.arcname: file.path for file in metaflow.files}
    assert names["metaflow/__init__.py"] == str(copy / "metaflow" / "__init__.py")
    assert {name for file in acme.files for name in [file.arcname]} >= {
        "metaflow_extensions/acme/plugins/mfextinit_acme.py"
    }
    assert not any(r.startswith("metaflow") for r in host.requirements)
    assert any(r.startswith("boto3") for r in host.requirements)
