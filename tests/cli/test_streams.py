"""Standard streams that are closed, full or no longer read, of processes as shells start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mfbuild.cli.main import main

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
SHELL = 'exec "$0" -m mfbuild "$@"'


def shell(redirections: str, *words: str, env: Mapping[str, str] = BUFFERED) -> tuple[int, str]:
    """The exit code of mfbuild with `redirections` of its streams, and what it wrote to others."""
    command = ["sh", "-c", f"{SHELL} {redirections}", sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    return done.returncode, done.stdout + done.stderr


def unread(*words: str, stderr: bool = False) -> tuple[int, bytes]:
    """The exit code where nobody reads stdout, nor stderr if that is asked, and what stderr got."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "mfbuild", *words]
    pipe = write if stderr else subprocess.PIPE
    done = subprocess.run(command, stdout=write, stderr=pipe, env=BUFFERED)
    os.close(write)
    return done.returncode, done.stderr or b""


def test_a_reader_that_has_gone_is_no_error() -> None:
    assert unread("--help") == (1, b"")
    assert unread("verify", "nothing", stderr=True) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_results_that_cannot_be_printed_fail_the_command() -> None:
    assert shell(">/dev/full", "--help") == (1, "error: no space left on device\n")
    assert shell("2>/dev/full", "verify", "nothing") == (1, "")


def test_closed_streams_are_as_good_as_those_that_nobody_sees(tmp_path: Path) -> None:
    """In particular, no file gets their numbers, and errors do not end up on stdout."""
    words = ("gc", "--max-age", "1d", "--store", str(tmp_path))
    code, said = shell("2>&-", *words)
    assert (code, said.partition(" files")[0]) == (0, "removed 0")
    assert shell("<&- >&- 2>&-", *words) == (0, "")
    assert shell("2>&-", "verify", "nothing") == (1, "")


def test_results_that_stdout_cannot_encode_are_escaped() -> None:
    code, said = shell("", "push", "--help", env={**BUFFERED, "PYTHONIOENCODING": "ascii"})
    assert (code, "TrainFlow-5b0c6c\\u2026 -d" in said) == (0, True)


def test_a_folder_whose_name_is_not_utf_8_is_printed_as_it_is(tmp_path: Path) -> None:
    if sys.platform == "darwin":
        pytest.skip("its file systems have no such names")
    store = os.fsencode(tmp_path) + b"/\xff"
    words = ["-m", "mfbuild", "gc", "--max-age", "1d", "--store", os.fsdecode(store)]
    utf8 = {**BUFFERED, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, *words], capture_output=True, env=utf8)
    assert (done.returncode, store in done.stdout) == (0, True), done.stderr


def test_what_the_machine_refuses_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, note: object) -> None:
        raise OSError(30, "Read-only file system", "BUILD.lock")

    monkeypatch.setattr("mfbuild.cli.verify.verify_bundle", full)
    assert main(["verify", "x"]) == 1
    assert capsys.readouterr().err == "error: read-only file system\n  at BUILD.lock\n"
