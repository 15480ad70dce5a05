"""Another package that is `flyte` to Metaflow as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.metaflow_side.flows import Metaflow, hello

CLI = """
from metaflow._vendor import click

@click.group()
def cli():
    pass

@cli.group()
def flyte():
    pass
"""


@pytest.fixture
def rival(tmp_path: Path) -> str:
    """A folder of PYTHONPATH in which the package `other` claims the command line."""
    plugins = tmp_path / "rival/metaflow_extensions/other/plugins"
    plugins.mkdir(parents=True)
    (plugins / "mfextinit_other.py").write_text('CLIS_DESC = [("flyte", ".cli.cli")]\n')
    (plugins / "cli.py").write_text(CLI)
    return str(tmp_path / "rival")


def test_a_rival_is_named_with_what_it_has_got(
    metaflow: Metaflow, tmp_path: Path, rival: str
) -> None:
    done = metaflow(hello(tmp_path / "flow.py", "@flyte"), "show", PYTHONPATH=rival)
    assert done.code == 0
    told = "warning: `metaflow_extensions.other` provides `flyte` to Metaflow, as mfbuild does; "
    assert f"{told}`python flow.py flyte` is its: uninstall one of them\n" in done.err
    assert done.err.count("uninstall one of them") == 1


def test_a_task_says_nothing_of_it(metaflow: Metaflow, tmp_path: Path, rival: str) -> None:
    done = metaflow(
        hello(tmp_path / "flow.py"), "show", PYTHONPATH=rival, METAFLOW_RUN_ID="flyte-x"
    )
    assert "uninstall" not in done.err


def test_nobody_else_is_no_rival(metaflow: Metaflow, tmp_path: Path) -> None:
    assert "uninstall" not in metaflow(hello(tmp_path / "flow.py"), "show").err
