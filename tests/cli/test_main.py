"""The frame around every verb: exit codes, and what becomes of errors nobody expected."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mfbuild.cli.main import VERBS, main
from mfbuild.errors import BundleError, Problem, UsageError


def verb(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `mfbuild verify` raise `error`."""
    module = ModuleType("mfbuild.cli.verify")

    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("bundle")

    def run(args: argparse.Namespace) -> int:
        raise error

    vars(module).update(arguments=arguments, run=run)
    monkeypatch.setitem(sys.modules, "mfbuild.cli.verify", module)


def test_windows_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["verify", "x"]) == 2
    assert capsys.readouterr().err == (
        "error: Windows is not supported as a host: use WSL, Linux or macOS\n"
    )


def test_every_problem_is_printed_with_place_and_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = [Problem("one is `bad`", "flow.py:3", "mend it"), Problem("two too")]
    verb(monkeypatch, BundleError.all_of(problems))
    assert main(["verify", "x"]) == 1
    found = capsys.readouterr()
    assert (found.out, found.err) == (
        "",
        "error: one is `bad`\n  at flow.py:3\n  hint: mend it\nerror: two too\n",
    )


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("x"), 2), (KeyboardInterrupt(), 130), (BundleError("x"), 1)]
)
def test_each_kind_of_end_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    verb(monkeypatch, error)
    assert main(["verify", "x"]) == code
    assert capsys.readouterr().err.startswith("error: ")


def test_a_bug_leaves_a_log_and_exits_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    verb(monkeypatch, AssertionError("BUG: this cannot be"))
    assert main(["verify", "x"]) == 3
    (log,) = tmp_path.glob("mfbuild-bug-*.log")
    assert capsys.readouterr().err == f"error: this is a bug in mfbuild; the log is {log}\n"
    assert "command: verify x" in log.read_text()
    assert "AssertionError: BUG: this cannot be" in log.read_text()


def test_without_a_verb_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr().err
    assert [name for name in VERBS if name not in shown] == []
