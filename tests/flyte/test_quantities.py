"""Amounts in the notation of Kubernetes, and what a step asks for that says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metaflow.plugins.kubernetes import kubernetes_decorator

from mfbuild.flyte.quantities import DEFAULTS, cpu, mebibytes, number
from tests.flyteadmin.quantities import quantity


def test_the_defaults_are_metaflows_own() -> None:
    theirs: Any = kubernetes_decorator.KubernetesDecorator.defaults
    assert {name: int(theirs[name]) for name in ("cpu", "memory")} == DEFAULTS


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("1Gi", 1 << 30),
        ("200Mi", 200 << 20),
        ("1.5G", 1_500_000_000),
        ("500m", 0.5),
        ("2", 2),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1Ei", 1 << 60),
        ("4k", 4000),
    ],
)
def test_what_an_amount_is(written: str, amount: float) -> None:
    assert number(written) == amount


def test_what_is_none() -> None:
    with pytest.raises(ValueError, match="`1 Gi` is no quantity"):
        number("1 Gi")


_SUFFIXES = ("", "n", "u", "m", "k", *"MGTPE", *(f"{s}i" for s in "KMGTPE"), "e3", "E-2")


@given(st.integers(0, 10**6), st.sampled_from(_SUFFIXES))
def test_it_is_read_as_flyte_reads_it(figure: int, suffix: str) -> None:
    theirs = quantity(f"{figure}{suffix}").milli / 1000
    assert number(f"{figure}{suffix}") == pytest.approx(float(theirs))


@given(st.integers(1, 1 << 20), st.integers(1, 10**6))
def test_what_is_written_is_read(mib: int, milli: int) -> None:
    assert number(mebibytes(mib)) == mib << 20
    assert number(cpu(milli / 1000)) == pytest.approx(milli / 1000)
