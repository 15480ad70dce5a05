"""Graphs drawn at random, run by Metaflow itself and by `mfbuild run`: every artifact is the same.

A few by default; many where MFBUILD_TEST_ALL is set.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.graph import is_recursive
from tests.e2e.conftest import Runner
from tests.flyte.shapes import (
    Draw,
    foreach,
    plain,
    sequence,
    shapes,
    shuffled,
    source,
    split,
    switch,
    whole,
)
from tests.local.compared import artifacts, ours, theirs

EVERYTHING = bool(os.environ.get("MFBUILD_TEST_ALL"))

straight = sequence(switch(plain, None), plain)
shared = switch(sequence(switch(plain, None), plain), switch(None, plain), plain, falling=[0])
loop = sequence(switch(plain, None, recursive=True), plain)
ARMS = sequence(shared, plain, switch(split(plain, straight), foreach(plain), plain))
NESTED = foreach(sequence(straight, switch(loop, foreach(plain), plain)))


@given(shapes, st.randoms(use_true_random=False))
@example(ARMS, Random(1))
@example(ARMS, Random(2))
@example(NESTED, Random(3))
@settings(
    deadline=None,
    derandomize=not EVERYTHING,
    max_examples=200 if EVERYTHING else 4,
    suppress_health_check=list(HealthCheck),
)
def test_a_flow_leaves_what_it_leaves_with_metaflow(
    mfbuild: Runner, shape: Draw, order: Random
) -> None:
    spec = shuffled(whole(shape), order)
    assume(not loops_meet(spec))
    with TemporaryDirectory() as name:
        flow = Path(name, "flow.py")
        flow.write_text(source(spec))
        own = theirs(flow, flow.parent / "theirs")
        assert own.code == 0, own.err
        done = ours(mfbuild, flow, flow.parent / "ours", "--in", "host")
        assert done.code == 0, done.err
        found = artifacts(flow.parent / "ours", done.out.strip())
        assert found == artifacts(flow.parent / "theirs")


def loops_meet(spec: FlowSpec) -> bool:
    """Whether one loop leads straight into another, which Metaflow's own runtime cannot run."""
    loops = {step.name for step in spec.steps if is_recursive(step)}
    return any(loops & set(s.next) - {s.name} for s in spec.steps if s.name in loops)
