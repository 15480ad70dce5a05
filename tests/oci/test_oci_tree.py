"""The tools oci.tree and oci.copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mfbuild.errors import ActionError
from mfbuild.oci import tree
from tests.work import contents, make_work, members


def laid(tmp_path: Path, entries: list[dict[str, Any]], **inputs: Path) -> Path:
    """The folder with the outputs of `oci.tree` for these entries."""
    params = {"comment": "source of demo", "owner": "demo", "entries": entries}
    work = make_work(tmp_path / "work", params, inputs)
    tree.run(work)
    return tmp_path / "work"


def test_inputs_text_and_links_are_laid_down_in_order(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_bytes(b"print('hi')\n")
    entries: list[dict[str, Any]] = [
        {"path": "z/link", "symlink": "../main.py"},
        {"path": "main.py", "mode": 0o644, "input": "main"},
        {"path": "bin/run", "mode": 0o755, "text": "#!/bin/é\n"},
    ]
    outputs = laid(tmp_path, entries, main=tmp_path / "main.py")
    found = members(outputs / "layer")
    assert list(found) == ["bin", "bin/run", "main.py", "z", "z/link"]
    assert (found["bin/run"].mode, found["z/link"].linkname) == (0o755, "../main.py")
    assert contents(outputs / "layer") == {
        "bin/run": "#!/bin/é\n".encode(),
        "main.py": b"print('hi')\n",
    }
    paths = (outputs / "paths").read_text().splitlines()
    assert paths[2] == "z/link\t-> ../main.py\t777\tdemo"
    assert '"comment":"source of demo"' in (outputs / "info").read_text()


def test_the_order_of_entries_does_not_matter(tmp_path: Path) -> None:
    entries = [{"path": f"d{n}/f{n}", "mode": 0o644, "text": "x" * n} for n in range(30)]
    first = laid(tmp_path / "1", entries)
    second = laid(tmp_path / "2", entries[::-1])
    assert (first / "layer").read_bytes() == (second / "layer").read_bytes()
    assert (first / "paths").read_bytes() == (second / "paths").read_bytes()


def test_all_paths_that_are_there_twice_are_named(tmp_path: Path) -> None:
    entries = [{"path": path, "mode": 0o644, "text": ""} for path in ("a", "b", "a", "b", "c")]
    with pytest.raises(ActionError) as caught:
        laid(tmp_path, entries)
    messages = [problem.message for problem in caught.value.problems]
    assert messages == ["`a` is laid down twice", "`b` is laid down twice"]
    assert caught.value.problems[0].where == "demo"


def test_a_path_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"`\.\./x` is not a path inside an image"):
        laid(tmp_path, [{"path": "../x", "mode": 0o644, "text": ""}])


def test_a_layer_of_a_base_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"any bytes")
    ticks: list[int] = []
    work = make_work(
        tmp_path / "w", {}, {"layer": tmp_path / "blob"}, outputs=("layer",), tick=ticks.append
    )
    tree.copy(work)
    assert (tmp_path / "w/layer").read_bytes() == b"any bytes"
    assert ticks == [9]
