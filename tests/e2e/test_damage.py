"""Every kind of file that mfbuild keeps, damaged: noticed, and made again or refused.

The kinds are taken from what one round of commands leaves on disk, so that a file which nobody
has thought of fails the test. docs/reliability.md has the rule for each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Done, Runner
from tests.local.compared import settings

FLOW = """
from metaflow import FlowSpec, Parameter, step

class KeptFlow(FlowSpec):
    number = Parameter("number", default=3171)

    @step
    def start(self):
        self.twice = self.number * 2
        self.next(self.end)

    @step
    def end(self):
        assert self.twice == 6342

if __name__ == "__main__":
    KeptFlow()
"""

STORE, OURS = "store", ".mfbuild"
HEX = "[0-9a-f]{64}"
KINDS: Mapping[str, str] = {
    rf"{STORE}/cas/sha256/../{HEX}": "blob",
    rf"{STORE}/ac/../{HEX}": "result",
    rf"{STORE}/history/../{HEX}": "history",
    rf"{STORE}/flows/{HEX}\.json": "depfile",
    rf"{STORE}/stat\.json": "stat cache",
    rf"{STORE}/urls\.json": "addresses",
    rf"{STORE}/roots/layers/{HEX}/.*": "layer",
    rf"{STORE}/roots/images/{HEX}/.*": "image",
    rf"{STORE}/roots/pyc/{HEX}/.*": "bytecode",
    rf"{STORE}/roots/seals/.*": "seal",
    rf"{STORE}/toolbox/[0-9a-f]+/.*\.py": "runtime",
    rf"{STORE}/(lock|tmp/.*)": "lock",
    rf"{STORE}/roots/loader/.*|{STORE}/toolbox/.*\.pyc": "Python's own",
    rf"{OURS}/dist/KeptFlow-[0-9a-f]+/blobs/sha256/{HEX}": "bundle's blob",
    rf"{OURS}/dist/KeptFlow-[0-9a-f]+/[a-z.-]+": "bundle's list",
    rf"{OURS}/dist/\.lock|{OURS}/flyte/lock|{OURS}/flyte/bundles/\.lock": "lock",
    rf"{OURS}/seals/.*|{OURS}/flyte/seals/.*": "seal",
    rf"{OURS}/latest\.json": "latest",
    rf"{OURS}/runs/[^/]+/run\.json": "record",
    rf"{OURS}/runs/[^/]+/journal": "journal",
    rf"{OURS}/runs/[^/]+/(lock|gate|cancel|output|log|launchers/[0-9a-f]+\.log)": "lock",
    rf"{OURS}/runs/[^/]+/request\.pb": "request",
    rf"{OURS}/runs/[^/]+/inputs/[^/]+": "input",
    rf"{OURS}/runs/[^/]+/nodes/.*/(outputs|futures)\.pb": "outputs",
    rf"{OURS}/runs/[^/]+/nodes/.*": "an attempt's",
    rf"{OURS}/runs/[^/]+/work/.*": "code",
    rf"{OURS}/flyte/local/development/(task|workflow|launch_plan)/.*\.pb": "registration",
    rf"{OURS}/flyte/local/development/active/[^/]+": "active",
    rf"{OURS}/flyte/bundles/KeptFlow-[0-9a-f]+/blobs/sha256/{HEX}": "kept blob",
    rf"{OURS}/flyte/bundles/KeptFlow-[0-9a-f]+/[a-z.-]+": "kept list",
    rf"{OURS}/flyte/blobs/{HEX}": "upload",
}


@dataclass(frozen=True)
class Kept:
    """A workspace in which everything has been done once, and what that came to."""

    root: Path
    store: Path
    run: Callable[..., Done]
    version: str

    def files(self) -> Iterator[tuple[str, Path]]:
        for top, folder in ((STORE, self.store), (OURS, self.root / OURS)):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    yield f"{top}/{path.relative_to(folder).as_posix()}", path

    def of(self, kind: str) -> Path:
        """The largest file of a kind: of the flow's own blobs rather than an empty one."""
        found = [path for name, path in self.files() if kind_of(name) == kind]
        return max(found, key=lambda path: (path.stat().st_size, str(path)))

    def whole(self) -> None:
        """The next undisturbed commands give what they gave before."""
        path = self.done("package", "flow.py").out.strip()
        assert path.endswith(self.version)
        self.done("verify", path)
        pushed = self.done("push", "flow.py", "--activate").out
        assert pushed.splitlines()[0] == f"KeptFlow@{self.version}"
        assert f"* {self.version}" in " ".join(self.done("versions", "KeptFlow").out.split())

    def done(self, *words: str) -> Done:
        done = self.run(*words)
        assert done.code == 0, done.err
        return done


def kind_of(name: str) -> str | None:
    return next((kind for pattern, kind in KINDS.items() if re.fullmatch(pattern, name)), None)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, session_store: Path) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    root, store = folder / "here", folder / "store"
    root.mkdir()
    (root / "flow.py").write_text(FLOW)
    (root / "BUILD.toml").write_text('[workspace]\nplatforms = ["linux/amd64"]\n')
    runner = Runner(store)

    def run(*words: str) -> Done:
        return runner(*words, cwd=root, **settings(folder))

    copy_blobs(session_store, store)
    path = run("package", "flow.py").out.strip()
    assert run("push", "flow.py", "--activate").code == 0
    assert run("trigger", "KeptFlow", "--wait").code == 0
    assert run("run", "flow.py").code == 0
    return Kept(root, store, run, path.rpartition("-")[2])


def copy_blobs(source: Path, target: Path) -> None:
    """What was downloaded in this session, as files of their own."""
    for path in (source / "cas").rglob("*") if (source / "cas").is_dir() else ():
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o444)


def flip(path: Path, other: Path | None) -> None:
    """One bit in the middle, the size and the mtime as they were."""
    data, at = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2] ^= 1
    rewrite(path, bytes(data))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def cut(path: Path, other: Path | None) -> None:
    rewrite(path, path.read_bytes()[:-1])


def delete(path: Path, other: Path | None) -> None:
    with writable(path):
        path.unlink()


def swap(path: Path, other: Path | None) -> None:
    """The content of another file of its kind."""
    if other is not None:
        rewrite(path, other.read_bytes())


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """A path, and its folder, that may be written to meanwhile."""
    modes = {p: p.stat().st_mode for p in (path.parent, path) if p.exists()}
    for each, mode in modes.items():
        each.chmod(mode | (0o700 if each.is_dir() else 0o600))
    yield
    for each, mode in modes.items():
        if each.exists():
            each.chmod(mode & 0o7777)


def rewrite(path: Path, data: bytes) -> None:
    with writable(path):
        path.write_bytes(data)


def test_every_file_is_of_a_kind_that_has_a_rule(kept: Kept) -> None:
    assert [name for name, _ in kept.files() if kind_of(name) is None] == []


BUILDS = (
    "blob",
    "result",
    "history",
    "depfile",
    "stat cache",
    "seal",
    "bundle's blob",
    "bundle's list",
    "latest",
    "registration",
    "active",
    "kept blob",
    "kept list",
    "upload",
)
RUNS = ("layer", "image", "bytecode", "runtime")


@pytest.mark.parametrize("damage", [flip, cut, delete, swap])
@pytest.mark.parametrize("kind", BUILDS)
def test_the_next_build_and_push_are_as_before(
    kept: Kept, kind: str, damage: Callable[[Path, Path | None], None]
) -> None:
    path = kept.of(kind)
    others = [p for name, p in kept.files() if kind_of(name) == kind and p != path]
    damage(path, others[0] if others else None)
    kept.whole()
    if kind == "registration":
        kept.done("trigger", "KeptFlow", "--wait")


@pytest.mark.parametrize("damage", [flip, cut, delete])
@pytest.mark.parametrize("kind", RUNS)
def test_the_next_run_is_as_before(
    kept: Kept, kind: str, damage: Callable[[Path, Path | None], None]
) -> None:
    path = kept.of(kind)
    before = path.read_bytes()
    damage(path, None)
    kept.done("trigger", "KeptFlow", "--wait")
    again = [p for name, p in kept.files() if kind_of(name) == kind and p == path]
    if kind != "bytecode":  # which holds the time of its source
        assert again[0].read_bytes() == before


@pytest.mark.parametrize("damage", [flip, cut, delete])
@pytest.mark.parametrize("kind", ["record", "journal", "request", "input"])
def test_a_run_whose_record_is_damaged_breaks_no_other(
    kept: Kept, kind: str, damage: Callable[[Path, Path | None], None]
) -> None:
    kept.done("trigger", "KeptFlow", "--wait")
    damage(kept.of(kind), None)
    assert kept.run("status").code == 0
    kept.done("run", "flow.py", "--in", "host")
    kept.whole()
