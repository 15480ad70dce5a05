"""What people get wrong: a clear error, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mfbuild.engine.model import Digest, canonical
from mfbuild.python.lockfile import parse, render
from tests.e2e.conftest import FLOW, Done, Runner, write_flow

AMD64 = ("--platform", "linux/amd64")


def package(mfbuild: Runner, text: str, folder: Path, *words: str) -> Done:
    """What `mfbuild package` says of a flow file with this text."""
    (folder / "flow.py").write_text(text)
    return mfbuild("package", "flow.py", "-q", *AMD64, *words, cwd=folder)


def test_there_is_no_such_file(mfbuild: Runner, tmp_path: Path) -> None:
    done = mfbuild("package", "flow.py", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: there is no file `flow.py`\n"


def test_a_syntax_error_is_the_user_s_own(mfbuild: Runner, tmp_path: Path) -> None:
    done = package(mfbuild, "from metaflow import FlowSpec\n\nclass F(FlowSpec:\n", tmp_path)
    assert done.code == 1
    assert "flow.py:3" in done.err
    assert "SyntaxError" in done.err
    assert "mfbuild/flow" not in done.err


def test_an_exception_comes_with_its_traceback(mfbuild: Runner, tmp_path: Path) -> None:
    text = "def broken():\n    return {}['key']\n\nbroken()\n"
    done = package(mfbuild, text, tmp_path)
    assert done.code == 1
    assert "KeyError: 'key'" in done.err
    assert "flow.py:2" in done.err
    assert "return {}['key']" in done.err


def test_a_file_without_a_flow(mfbuild: Runner, tmp_path: Path) -> None:
    done = package(mfbuild, "print('no flow')\n", tmp_path)
    assert done.code == 1
    assert "error: " in done.err
    assert "FlowSpec" in done.err


def test_two_flows_in_one_file(mfbuild: Runner, tmp_path: Path) -> None:
    second = FLOW.replace("SmallFlow", "OtherFlow").replace("import helper", "")
    text = FLOW.replace("import helper", "helper = None") + second
    done = package(mfbuild, text, tmp_path)
    assert done.code == 1
    assert "SmallFlow" in done.err
    assert "OtherFlow" in done.err


@pytest.mark.parametrize("version", ["1.16.0", "999"])
def test_a_package_that_cannot_be_had_names_the_step(
    mfbuild: Runner, tmp_path: Path, version: str
) -> None:
    name = "six" if version == "999" else "mfbuild-no-such-package-exists"
    write_flow(tmp_path)
    text = FLOW.replace('{"six": "1.16.0"}', f'{{"{name}": "{version}"}}')
    done = package(mfbuild, text, tmp_path)
    assert done.code == 1
    assert name in done.err
    assert "//flow.py:start" in done.err
    assert not (tmp_path / "BUILD.lock").exists()


def test_unknown_keys_of_the_policy(mfbuild: Runner, tmp_path: Path) -> None:
    (tmp_path / "BUILD.toml").write_text("[workspace]\nplatfroms = []\n")
    done = package(mfbuild, FLOW, tmp_path)
    assert done.code == 2
    assert done.err == (
        "error: unknown key `workspace.platfroms`\n"
        f"  at {tmp_path}/BUILD.toml\n"
        "  hint: did you mean `workspace.platforms`?\n"
    )


def test_a_stale_lock_under_locked(mfbuild: Runner, tmp_path: Path) -> None:
    write_flow(tmp_path)
    mfbuild.version("flow.py", *AMD64, cwd=tmp_path)
    before = (tmp_path / "BUILD.lock").read_bytes()
    done = package(mfbuild, FLOW.replace("1.16.0", "1.17.0"), tmp_path, "--locked")
    assert done.code == 1
    assert "error: `BUILD.lock` does not cover //flow.py:start\n" in done.err
    assert "hint: run `mfbuild lock`, or go without --locked" in done.err
    assert (tmp_path / "BUILD.lock").read_bytes() == before


def test_an_unknown_verb_and_option_are_usage_errors(mfbuild: Runner, tmp_path: Path) -> None:
    assert mfbuild("pakcage", cwd=tmp_path).code == 2
    assert mfbuild("package", "flow.py", "--lock", cwd=tmp_path).code == 2
    assert mfbuild("package", cwd=tmp_path).code == 2
    assert mfbuild(cwd=tmp_path).code == 2


def test_a_locked_wheel_with_another_hash_is_never_used(mfbuild: Runner, tmp_path: Path) -> None:
    """A lock whose hash is not that of the index's file: as good as an index that was tampered."""
    write_flow(tmp_path)
    mfbuild.version("flow.py", *AMD64, cwd=tmp_path)
    lock = tmp_path / "BUILD.lock"
    text = json.loads(lock.read_text())
    (six,) = [w for w in text["wheels"] if w["filename"].startswith("six-1.16.0-")]
    wrong = lock.read_text().replace(six["sha256"], "0" * 64)
    with pytest.raises(Exception, match="checksum does not match"):
        parse(wrong, "BUILD.lock")
    lock.write_text(_with_checksum(wrong))
    assert render(parse(lock.read_text(), "BUILD.lock")) == lock.read_text()
    done = mfbuild("package", "flow.py", "-q", "--locked", *AMD64, cwd=tmp_path)
    assert done.code == 1
    assert "six-1.16.0" in done.err


def _with_checksum(text: str) -> str:
    """A lock's text with the checksum that its content has."""
    content = json.loads(text)
    old = content.pop("checksum")
    return text.replace(old, str(Digest.of(canonical(content).encode())))


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    write_flow(tmp_path)
    (tmp_path / "file").write_text("")
    done = Runner(tmp_path / "file/store")("package", "flow.py", cwd=tmp_path)
    assert done.code == 1
    assert f"cannot use the store at `{tmp_path}/file" in done.err


def unfinished(store: Path) -> list[Path]:
    """What builds left half done; locks that nobody holds are swept by the next to be alone."""
    return [p for p in (store / "tmp").iterdir() if p.suffix != ".lock"]


def test_a_full_disk_loses_nothing(mfbuild: Runner, tmp_path: Path) -> None:
    """No file may grow beyond 64 kB: what a full disk does, for this process alone."""
    write_flow(tmp_path)
    mfbuild.version("flow.py", *AMD64, cwd=tmp_path)
    shutil.rmtree(tmp_path / ".mfbuild")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, resource.RLIM_INFINITY))

    store = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-m", "mfbuild", "package", "-q", "flow.py", *AMD64],
        cwd=tmp_path,
        env={**os.environ, "MFBUILD_STORE": str(store)},
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert done.returncode == 1, done.stderr
    assert "file too large" in done.stderr or "disk full" in done.stderr
    assert "Traceback" not in done.stderr
    assert unfinished(store) == []
    assert not (tmp_path / ".mfbuild/dist").exists()


def test_an_interrupt_ends_with_130_and_the_next_build_goes_on(
    mfbuild: Runner, tmp_path: Path
) -> None:
    write_flow(tmp_path)
    expected = mfbuild.version("flow.py", *AMD64, cwd=tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "mfbuild", "package", "--no-cache", "--progress", "plain",
         "flow.py", *AMD64],
        cwd=tmp_path,
        env={**os.environ, "MFBUILD_STORE": str(mfbuild.store)},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:  # work is under way when the first action has ended
        if line.startswith("made "):
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert "error: interrupted" in rest
    assert "Traceback" not in rest
    assert unfinished(mfbuild.store) == []
    assert mfbuild.version("flow.py", "--no-cache", *AMD64, cwd=tmp_path) == expected


def test_a_killed_build_leaves_a_store_that_the_next_can_use(
    mfbuild: Runner, tmp_path: Path
) -> None:
    write_flow(tmp_path)
    expected = mfbuild.version("flow.py", *AMD64, cwd=tmp_path)
    for moment in (0.3, 0.6, 1.2):
        process = subprocess.Popen(
            [sys.executable, "-m", "mfbuild", "package", "--no-cache", "-q", "flow.py", *AMD64],
            cwd=tmp_path,
            env={**os.environ, "MFBUILD_STORE": str(mfbuild.store)},
            stdout=subprocess.DEVNULL,
        )
        time.sleep(moment)  # any moment is as good as another
        process.kill()
        process.wait()
    assert mfbuild.version("flow.py", *AMD64, cwd=tmp_path) == expected
    assert mfbuild("verify", f".mfbuild/dist/SmallFlow-{expected}", cwd=tmp_path).code == 0


def test_a_corrupted_blob_is_named_and_made_again(mfbuild: Runner, tmp_path: Path) -> None:
    write_flow(tmp_path)
    expected = mfbuild.version("flow.py", *AMD64, cwd=tmp_path)
    bundle = tmp_path / f".mfbuild/dist/SmallFlow-{expected}"
    code = json.loads((bundle / "bundle.json").read_text())["code"]["digest"].partition(":")[2]
    shutil.rmtree(tmp_path / ".mfbuild")
    damaged = mfbuild.store / "cas/sha256" / code[:2] / code
    size = damaged.stat().st_size
    damaged.chmod(0o644)
    damaged.write_bytes(b"x" * size)
    done = mfbuild("package", "flow.py", *AMD64, cwd=tmp_path)
    assert done.code == 0, done.err
    assert f"warning: blob `sha256:{code}` is damaged in the store: it is made again" in done.err
    assert done.out.strip() == str(bundle)
    assert mfbuild("verify", bundle, cwd=tmp_path).out == f"SmallFlow@{expected}\n"
