"""Schedules as robfig/cron's ParseStandard takes them."""

from __future__ import annotations

import re

import pytest

from tests.flyteadmin.cron import check_cron
from tests.flyteadmin.quantities import quantity


@pytest.mark.parametrize(
    "spec",
    [
        "0 3 * * *",
        "*/5 0-23/2 1,15 jan-MAR mon",
        "5/10 * ? * ?",
        "CRON_TZ=America/New_York 0 3 * * 1-5",
        "TZ=UTC 0 3 * * *",
        "@daily",
        "@every 1h30m",
        "CRON_TZ=Europe/Berlin @weekly",
    ],
)
def test_schedules(spec: str) -> None:
    check_cron(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "expected exactly 5 fields, found 0: []"),
        ("0 3 * * * *", "expected exactly 5 fields, found 6"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many slashes or hyphens: 1-2-3"),
        ("a * * * *", "failed to parse int from a"),
        ("0 3 L * ?", "failed to parse int from L"),
        ("@reboot", "unrecognized descriptor: @reboot"),
        ("@every soon", "unrecognized descriptor: @every soon"),
        ("CRON_TZ=Nowhere 0 3 * * *", "provided bad location CRON_TZ=Nowhere"),
    ],
)
def test_what_is_no_schedule(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_cron(spec)


@pytest.mark.parametrize(
    ("written", "milli"),
    [("1", 1000), ("500m", 500), ("1.5Gi", 1.5 * 1024**3 * 1000), ("2k", 2e6), ("1e3", 1e6)],
)
def test_quantities(written: str, milli: float) -> None:
    assert quantity(written).milli == milli


@pytest.mark.parametrize("written", ["", "1 Gi", "1GB", "Gi", "1K", "--1"])
def test_what_is_no_quantity(written: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity(written)
