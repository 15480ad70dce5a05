"""The main job on the engine, by command line: packaged, pushed, triggered, shown, ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.build import CACHE
from tests.cluster.engine import DOMAIN, Engine
from tests.cluster.flows import admin_policy
from tests.cluster.namespace import wait
from tests.flyteadmin.double import Double
from tests.threeways.seen import USER

ROOT = Path(__file__).parents[2]

SLEEPING = """
import time
from metaflow import FlowSpec, IncludeFile, Parameter, step


class SleepingFlow(FlowSpec):
    seconds = Parameter("how-long", default=0)
    text = IncludeFile("text", default=None)

    @step
    def start(self):
        print("asleep for", self.seconds, flush=True)
        time.sleep(self.seconds)
        print("read:", self.text, flush=True)
        self.next(self.end)

    @step
    def end(self):
        raise SystemExit("out of luck")


if __name__ == "__main__":
    SleepingFlow()
"""


@dataclass(frozen=True)
class Shop:
    """A workspace whose domain is the engine's, and the double in front of it."""

    folder: Path
    engine: Engine
    double: Double

    def mfbuild(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mfbuild", *words],
            cwd=self.folder,
            env={
                **os.environ,
                **self.engine.bucket.pod_environment(),
                "MFBUILD_STORE": str(CACHE / "store"),
                "METAFLOW_USER": USER,
            },
            capture_output=True,
            text=True,
        )

    def json(self, *words: str) -> Any:
        done = self.mfbuild(*words, "--json", "-q")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shop(flyte: Engine, admin: Double, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    shutil.copy(ROOT / "examples/train/flow.py", folder / "train.py")
    shutil.copy(ROOT / "BUILD.lock", folder)
    (folder / "sleeping.py").write_text(SLEEPING)
    (folder / "BUILD.toml").write_text(admin_policy(flyte, admin))
    return Shop(folder, flyte, admin)


def steps(shown: Mapping[str, Any]) -> dict[str, str]:
    return {task["task"].rpartition(".")[2]: task["phase"] for task in shown["tasks"]}


def test_a_flow_is_pushed_and_runs(shop: Shop) -> None:
    (pushed,) = shop.json("push", "train.py", "-d", DOMAIN, "--activate")["pushed"]
    assert pushed["active"]
    done = shop.mfbuild("trigger", "TrainFlow", "-d", DOMAIN, "--rows", "200", "--wait")
    assert done.returncode == 0, done.stderr
    flow, _, run = done.stdout.strip().partition("/")
    assert flow == "TrainFlow"
    told = [" ".join(line.split()[:2]) for line in done.stderr.splitlines()]
    assert [f"{step} succeeded" for step in ("start", "train", "end")] == [
        line for line in told if line.endswith(" succeeded")
    ]
    shown = shop.json("status", run, "-d", DOMAIN)
    assert (shown["phase"], shown["version"]) == ("succeeded", pushed["version"])
    assert steps(shown) == dict.fromkeys(("start", "train", "end"), "succeeded")
    (listed, *_) = shop.json("status", "-d", DOMAIN, "--flow", "TrainFlow")["executions"]
    assert listed["name"] == shown["name"]
    logs = shop.mfbuild("logs", run, "end", "-d", DOMAIN)
    assert logs.returncode == 0, logs.stderr
    assert logs.stdout.startswith("end/t-"), logs.stdout
    assert ": R2 " in logs.stdout


def test_a_run_that_fails_is_told_with_its_step_and_its_words(shop: Shop) -> None:
    (shop.folder / "text.txt").write_text("from the laptop")
    shop.json("push", "sleeping.py", "-d", DOMAIN)
    done = shop.mfbuild("trigger", "sleeping.py", "-d", DOMAIN, "--text", "text.txt", "--wait")
    assert done.returncode == 1
    run = done.stdout.strip()
    assert f"error: `{run}` failed: " in done.stderr
    assert "out of luck" in done.stderr
    assert f"hint: its logs: mfbuild logs {run.partition('flyte-')[2]} -d {DOMAIN}" in done.stderr
    logs = shop.mfbuild("logs", run, "-d", DOMAIN)
    lines = [line.partition(": ")[2] for line in logs.stdout.splitlines()]
    assert lines[:2] == ["asleep for 0", "read: from the laptop"]


def test_a_run_is_ended(shop: Shop) -> None:
    shop.json("push", "sleeping.py", "-d", DOMAIN)
    started = shop.json("trigger", "SleepingFlow", "-d", DOMAIN, "--how-long", "600")
    name = started["name"]

    def asleep() -> bool:
        return "asleep for 600" in shop.mfbuild("logs", name, "-d", DOMAIN).stdout

    wait(asleep, lambda: str(shop.json("status", name, "-d", DOMAIN)), seconds=120)
    ended = shop.mfbuild("terminate", name, "-d", DOMAIN, "--cause", "enough")
    assert (ended.returncode, ended.stdout) == (0, f"{name}\n")
    waited = shop.mfbuild("status", name, "-d", DOMAIN, "--wait")
    assert waited.returncode == 1
    assert "aborted" in waited.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rows", "many"), "parameter `--rows` must be a whole number, not `many`"),
        (("--row", "3"), "unknown option or parameter `--row`"),
    ],
)
def test_parameters_are_checked_before_anything_starts(
    shop: Shop, words: tuple[str, ...], said: str
) -> None:
    shop.json("push", "train.py", "-d", DOMAIN)
    before = shop.double.calls["CreateExecution"]
    done = shop.mfbuild("trigger", "TrainFlow", "-d", DOMAIN, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {said}" in done.stderr
    assert shop.double.calls["CreateExecution"] == before
