"""Which flows the words of a command line name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfbuild.build.labels import find_flows, flow_label
from mfbuild.errors import UsageError

FLOW = """
import metaflow

class F(metaflow.FlowSpec):
    pass

if __name__ == "__main__":
    F()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.py", "flows/a.py", "flows/deep/c.py", ".venv/x.py", "venv/y.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FLOW)
    (tmp_path / "flows/tool.py").write_text("from metaflow import FlowSpec\n")
    (tmp_path / "flows/writer.py").write_text(f"TEXT = '''{FLOW}'''\n")
    (tmp_path / "flows/base.py").write_text("class Base(FlowSpec):\n    pass\n")
    return tmp_path


def test_labels_paths_and_patterns_name_flows_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    found = find_flows(["b.py", "//flows/...", "//flows/a.py"], root)
    assert [flow_label(f, root) for f in found] == [
        "//b.py",
        "//flows/a.py",
        "//flows/deep/c.py",
    ]
    assert len(find_flows(["//..."], root)) == 3


def test_a_file_that_does_not_parse_is_for_the_loader_to_explain(root: Path) -> None:
    (root / "flows/deep/c.py").write_text(FLOW + "def broken(:\n")
    assert len(find_flows(["//flows/..."], root)) == 2


def test_every_word_that_finds_nothing_is_told(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_flows(["//nothing.py", "gone.py", "//.venv/deep/...", "//flows/../b.py"], root)
    assert [p.message for p in caught.value.problems] == [
        "there is no file `//nothing.py`",
        "there is no file `gone.py`",
        "`//.venv/deep/...` finds no flow",
        "there is no file `//flows/../b.py`",
    ]


def test_a_flow_outside_the_workspace_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="is outside the workspace"):
        find_flows([str(root / "b.py")], root / "flows")
