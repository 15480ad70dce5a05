"""A push that ends in the middle: the next one ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfbuild.flyte.backend import Spec
from tests.flyteadmin.faults import Call
from tests.push.conftest import Target
from tests.push.pushing import PROJECT, make_bundle, push_to
from tests.push.test_push import send, states


class Stop(BaseException):
    """The push ends here, as a process does that is killed."""


class Stopping:
    """Registrations and bundles that stop at their n-th change, before it or after it."""

    name = "stopping"

    def __init__(self, target: Target, number: int, after: bool) -> None:
        self._place, self._left, self._after = target.at(), number, after
        self._lock = threading.Lock()

    @property
    def registrations(self) -> Any:
        return self

    def at(self) -> Any:
        return replace(self._place, backend=self, bundles=self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place.backend.registrations, name)

    def put(self, bundle: Any, repository: Any) -> bool:
        return bool(self._change(lambda: self._place.bundles.put(bundle, repository)))

    def upload(self, *words: Any) -> Any:
        return self._change(lambda: self._place.backend.registrations.upload(*words))

    def create(self, identifier: Any, spec: Spec) -> Any:
        return self._change(lambda: self._place.backend.registrations.create(identifier, spec))

    def set_active(self, identifier: Any, *, active: bool) -> Any:
        return self._change(
            lambda: self._place.backend.registrations.set_active(identifier, active=active)
        )

    def _change(self, perform: Callable[[], Any]) -> Any:
        with self._lock:
            self._left -= 1
            due = self._left == 0
        if due:
            if self._after:
                perform()
            raise Stop
        return perform()


@pytest.mark.parametrize("after", [False, True])
def test_a_push_goes_on_from_wherever_it_stopped(
    target: Target, tmp_path: Path, after: bool
) -> None:
    old = make_bundle(tmp_path / "old", domains=target.domains, code={"train.py": b"old"})
    send(target, old, activate=True)
    changes = 8  # images, code, three tasks, workflow, launch plan, activation
    for number in range(1, changes + 1):
        bundle = make_bundle(
            tmp_path / str(number),
            domains=target.domains,
            code={"train.py": str(number).encode()},
            packages=dict.fromkeys(("start", "fit", "end"), f"new=={number}"),
        )
        stopping = Stopping(target, number, after)
        with pytest.raises(Stop):
            push_to(stopping.at(), bundle, target.deployment(), activate=True)
        assert sum(states(target).values()) == 1
        assert send(target, bundle, activate=True).active
        assert [v for v, active in states(target).items() if active] == [bundle.manifest.version]
        assert send(target, bundle).sent == ()


@pytest.mark.tools
def test_kill_at_any_moment(target: Target, tmp_path: Path) -> None:
    """SIGKILL of the whole process; the moments are drawn, and the draw is the same each time."""
    rng = random.Random(5)
    began = time.monotonic()
    command_line(target, make_bundle(tmp_path / "whole", domains=target.domains)).wait()
    whole = time.monotonic() - began
    for number in range(20):
        code = {"train.py": str(number).encode()}
        bundle = make_bundle(tmp_path / str(number), domains=target.domains, code=code)
        process = command_line(target, bundle)
        time.sleep(rng.uniform(0, whole))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert sum(states(target).values()) == 1
        assert command_line(target, bundle).wait() == 0
        assert [v for v, active in states(target).items() if active] == [bundle.manifest.version]
        assert send(target, bundle).sent == ()


def command_line(target: Target, bundle: Any) -> subprocess.Popen[bytes]:
    """`mfbuild push --activate` of a bundle, in a process of its own."""
    env = {
        **os.environ,
        "MFBUILD_ENDPOINT": target.config.flyte_endpoint or "",
        "MFBUILD_REGISTRY": target.config.registry or "",
        "MFBUILD_PROJECT": PROJECT,
        "MFBUILD_STORE": str(target.config.store),
        "METAFLOW_USER": "alice",
    }
    words = ["push", str(bundle.layout.path), "-d", "staging", "--activate", "-q"]
    return subprocess.Popen(
        [sys.executable, "-m", "mfbuild", *words],
        cwd=target.config.root,
        env=env,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.tools
@pytest.mark.parametrize("target", ["flyteadmin"], indirect=True)
@pytest.mark.parametrize("rpc", ["GetLaunchPlan", "CreateTask", "CreateLaunchPlan", "PUT"])
def test_a_push_is_interrupted_while_a_server_is_silent(
    target: Target, tmp_path: Path, rpc: str
) -> None:
    assert target.double
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    asked, awake = threading.Event(), threading.Event()

    def silent(call: Call) -> Any:
        asked.set()
        awake.wait(60)
        return call.perform()

    target.double.faults.always(rpc, silent)
    process = command_line(target, bundle)
    try:
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        awake.set()
        process.kill()
        process.wait()
    target.double.faults.clear()
    assert send(target, bundle, activate=True).active
