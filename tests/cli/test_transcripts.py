"""What people see: the commands of each transcript, run again, print the same and end the same.

A transcript is a story in a workspace of its own. `$ ` begins a command line of the shell, `1> ` a
line of stdout, `2> ` one of stderr; what FILTERS and Names stand for differs from run to run.
`pytest tests/cli/test_transcripts.py --update-transcripts` writes what the commands print now.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mfbuild.cli.main import VERBS
from mfbuild.oci.archive import host_platform
from tests.e2e.conftest import Runner

TRANSCRIPTS = sorted(Path(__file__).parent.glob("transcripts/*.txt"))
FILES = {
    "BUILD.toml": "",
    "greeting.py": 'GREETING = "hello"\n',
    "greet.py": '''\
from metaflow import FlowSpec, Parameter, step

from greeting import GREETING


class GreetFlow(FlowSpec):
    """Greets somebody, as many times as is asked for."""

    who = Parameter("who", default="world")
    times = Parameter("times", type=int, default=1)

    @step
    def start(self):
        self.greetings = [f"{GREETING}, {self.who}"] * self.times
        self.next(self.end)

    @step
    def end(self):
        print("\\n".join(self.greetings))


if __name__ == "__main__":
    GreetFlow()
''',
}

FILTERS: Mapping[str, tuple[str, str]] = {
    "platform": (r"\blinux/(amd64|arm64)\b", "<platform>"),
    "time of day": (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>"),
    "duration": (r"\b\d+(\.\d+)? s\b", "<n> s"),
    "size": (r"\b\d+(\.\d+)? ([kMG]?B)\b", r"<n> B"),
    "versions of this day": (r"(?m)(^\S+ \d\S* added\n)+", "… added\n"),
    "wheels of this Metaflow": (r"\b\d+ wheels", "<n> wheels"),
    "their layers": (r"\b\d+ actions \(\d+ cached\)", "<n> actions (<n> cached)"),
    "their layers in a plan": (r"\b\d+ actions: (\d+ to run), \d+", r"<n> actions: \1, <n>"),
    "another Python than the image's": (r"(?m)^warning: .*: packaged with Python .* here\n", ""),
    "what polling sees": (r"(?m)^\S+ +running +<n> s\n", ""),
    "traceback of Metaflow": (r"(?m)(^  \| .*\n)+(?=^  \| )", "  | …\n"),
    "marks of a newer Python": (r"(?m)^ *[~^]+\n", ""),
    "options, as argparse folds them": (r"(usage: mfbuild \w+) .*\n( .*\n)*", r"\1 …\n"),
}
RUN = re.compile(r"\br\d{12}[0-9a-z]{4}\b")
HASH = re.compile(r"\b[0-9a-f]{12,64}\b")


@dataclass
class Names:
    """Runs and hashes by the order in which they first appear: `<run-1>`, `<hash-2>`.

    A hash that is cut to its first digits is `<hash-2…>`.
    """

    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def hide(self, text: str) -> str:
        text = RUN.sub(lambda found: self._name("run", found[0], found[0]), text)
        return HASH.sub(self._hash, text)

    def show(self, command: str) -> str:
        """A command with the runs and hashes of which it has the names."""
        return re.sub(r"<(run|hash)-\d+>", lambda found: self.values[found[0]], command)

    def _hash(self, found: re.Match[str]) -> str:
        name = self._name("hash", found[0][:12], found[0])
        return name if len(found[0]) == len(self.values[name]) else f"{name[:-1]}…>"

    def _name(self, kind: str, key: str, value: str) -> str:
        if key not in self.names:
            count = sum(name.startswith(f"<{kind}-") for name in self.values)
            self.names[key] = f"<{kind}-{count + 1}>"
        name = self.names[key]
        self.values[name] = max(value, self.values.get(name, ""), key=len)
        return name


@dataclass(frozen=True)
class Workspace:
    """A folder with the flow, and a store that has what every flow needs."""

    folder: Path
    store: Path
    names: Names = field(default_factory=Names)

    def run(self, command: str) -> Iterator[str]:
        """The lines of a transcript that a command line makes."""
        done = subprocess.run(
            ["sh", "-c", self.names.show(command)],
            cwd=self.folder,
            env=environment(self.store),
            capture_output=True,
            text=True,
        )
        for stream, text in (("1", done.stdout), ("2", done.stderr)):
            yield from (f"{stream}> {line}".rstrip() for line in self._filtered(text).splitlines())
        yield f"exit {done.returncode}"

    def _filtered(self, text: str) -> str:
        text = text.replace(str(self.folder), "<workspace>").replace(str(self.store), "<store>")
        for pattern, replacement in FILTERS.values():
            text = re.sub(pattern, replacement, text)
        return self.names.hide(text)


def environment(store: Path) -> dict[str, str]:
    """That of the tests, with what else shapes the words of mfbuild."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "USER": "ada",
        "METAFLOW_USER": "ada",
        "MFBUILD_STORE": str(store),
        "MFBUILD_PLATFORMS": str(host_platform()),
        "MFBUILD_JOBS": "1",
        "COLUMNS": "100",
    }


def transcript(text: str, workspace: Workspace) -> Iterator[str]:
    """The lines of a transcript with the same commands, as they print now."""
    for line in text.splitlines():
        if line.startswith("$ "):
            yield line
            yield from workspace.run(line[2:])
        elif not re.match(r"[12]>|exit ", line):
            yield line


def write_files(folder: Path) -> Path:
    for name, content in FILES.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="module")
def warm_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the base image and Metaflow's layers, and nothing of the flow itself."""
    store = tmp_path_factory.mktemp("warm") / "store"
    folder = write_files(tmp_path_factory.mktemp("other"))
    (folder / "greet.py").rename(folder / "other.py")
    done = Runner(store)("package", "other.py", cwd=folder, **environment(store))
    assert done.code == 0, done.err
    return store


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: file.stem)
def test_transcript(
    file: Path, warm_store: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    store = shutil.copytree(warm_store, tmp_path / "store", copy_function=os.link)
    folder = tmp_path / "flows"
    folder.mkdir()
    said = file.read_text()
    now = "\n".join(transcript(said, Workspace(write_files(folder), store))) + "\n"
    if pytestconfig.getoption("update_transcripts"):
        file.write_text(now)
    else:
        assert now == said, "if this is what people are to see: --update-transcripts"


def test_every_verb_is_in_a_transcript() -> None:
    said = {line for file in TRANSCRIPTS for line in file.read_text().splitlines()}
    run = {line.split()[2] for line in said if line.startswith("$ mfbuild ")}
    assert [verb for verb in VERBS if verb not in run] == []
