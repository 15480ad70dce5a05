"""The log of a bug: it names what mfbuild was told to do, and nothing that a flow was given."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mfbuild.cli import run as run_verb
from mfbuild.cli import trigger as trigger_verb
from mfbuild.cli.main import main


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def log_of(
    monkeypatch: pytest.MonkeyPatch, folder: Path, words: Sequence[str], message: str = "BUG: oops"
) -> str:
    """The log of a verb that fails with `message` when it has read its words."""

    def fail(args: argparse.Namespace) -> int:
        raise AssertionError(message)

    for module in (run_verb, trigger_verb):
        monkeypatch.setattr(module, "run", fail)
    assert main(words) == 3
    (log,) = folder.glob("mfbuild-bug-*.log")
    assert log.stat().st_mode & 0o077 == 0
    return log.read_text(encoding="utf-8")


GIVEN = [
    (
        ["trigger", "TrainFlow:fit", "--param", "key=sesame", "-d", "sesame", "--wait"],
        "trigger TrainFlow:fit --param … -d … --wait",
    ),
    (["run", "//flow.py", "--key", "sesame", "--locked"], "run //flow.py … … --locked"),
    (["run", "flow.py", "--key=sesame", "sesame"], "run flow.py … …"),
    (["run", "--param=key=sesame", "--pyc", "flow.py"], "run --param=… --pyc flow.py"),
    (["run", "flow.py", "--key", "--sesame", "-q"], "run flow.py … … -q"),
    (["run", "flow.py", "--flow-option=--config-value=sesame"], "run flow.py --flow-option=…"),
    (["trigger", "TrainFlow", "-dsesame"], "trigger TrainFlow …"),
    (["run", "oci://me:sesame@registry/flow"], "run …"),
]


@pytest.mark.parametrize(("words", "shown"), GIVEN, ids=[shown for _, shown in GIVEN])
def test_the_command_is_logged_without_what_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: Sequence[str], shown: str
) -> None:
    text = log_of(monkeypatch, tmp_path, words, message=f"BUG: no value in {words[1:]}")
    assert f"command: {shown}\n" in text
    assert "sesame" not in text
    assert f'"{__file__}", line ' in text and "AssertionError: BUG: no value in [" in text


def test_no_message_of_a_chain_has_a_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    value = "don't\ttell\nSESAME"

    def fail(args: argparse.Namespace) -> int:
        try:
            return int(value)
        except ValueError as error:
            raise KeyError(value) from error

    monkeypatch.setattr(run_verb, "run", fail)
    assert main(["run", "flow.py", "--param", f"key={value}"]) == 3
    (log,) = tmp_path.glob("mfbuild-bug-*.log")
    text = log.read_text(encoding="utf-8")
    assert "SESAME" not in text
    assert "invalid literal for int() with base 10: " in text and "KeyError: " in text


def test_a_verb_that_cannot_be_imported_has_a_log_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mfbuild.cli.run", None)
    assert main(["run", "flow.py", "--wait", "sesame"]) == 3
    (log,) = tmp_path.glob("mfbuild-bug-*.log")
    text = log.read_text(encoding="utf-8")
    assert "command: run flow.py … …\n" in text and "ModuleNotFoundError" in text
