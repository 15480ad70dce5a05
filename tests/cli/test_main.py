"""The frame around every verb: exit codes, and what becomes of errors nobody expected."""

from __future__ import annotations

import argparse
import signal
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


def test_what_a_stranger_named_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(
        monkeypatch, BundleError("`a\x1b[31m` is\tone\nof \u202etwo", where="\x9b1m", hint="\r\x7f")
    )
    assert main(["verify", "x"]) == 1
    assert capsys.readouterr().err == (
        "error: `a\\x1b[31m` is\tone\nof \\u202etwo\n  at \\x9b1m\n  hint: \\r\\x7f\n"
    )


def test_options_may_stand_between_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = ModuleType("mfbuild.cli.verify")

    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("first")
        parser.add_argument("second", nargs="?")
        parser.add_argument("more", nargs="*")
        parser.add_argument("-f", action="store_true")

    def run(args: argparse.Namespace) -> int:
        sys.stdout.write(f"{args.first} {args.second} {args.more} {args.f}\n")
        return 0

    vars(module).update(arguments=arguments, run=run)
    monkeypatch.setitem(sys.modules, "mfbuild.cli.verify", module)
    assert main(["verify", "a", "-f", "b", "c"]) == 0
    assert main(["verify", "a"]) == 0
    assert capsys.readouterr().out == "a b ['c'] True\na None [] False\n"
    with pytest.raises(SystemExit) as exited:
        main(["verify", "a", "--nope"])
    assert exited.value.code == 2
    assert capsys.readouterr().err.startswith("usage: mfbuild verify ")


def test_sigterm_ends_as_an_interrupt_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    verb(monkeypatch, BundleError("it was not"))
    run = sys.modules["mfbuild.cli.verify"].run

    def killed(args: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGTERM)
        code: int = run(args)
        return code

    monkeypatch.setattr(sys.modules["mfbuild.cli.verify"], "run", killed)
    assert main(["verify", "x"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


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


def test_a_command_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["versoins", "TrainFlow"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no command `versoins`\n  hint: did you mean `versions`?\n"
    )
