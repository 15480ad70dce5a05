"""Cron schedules as flyteadmin's scheduler parses them: `ParseStandard` of robfig/cron."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
"""Minute, hour, day of the month, month, day of the week: least, most, names."""
_NAMED = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_DURATION = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+")


def check_cron(spec: str) -> None:
    """Return if `spec` is a schedule, with or without `CRON_TZ=<zone> `; ValueError if not."""
    if spec.startswith(("TZ=", "CRON_TZ=")):
        zone, _, spec = spec.partition(" ")
        try:
            ZoneInfo(zone.partition("=")[2] or "UTC")
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"provided bad location {zone}: {error}") from None
        spec = spec.strip()
    if spec.startswith("@"):
        _check_descriptor(spec)
        return
    fields = spec.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {fields}")
    for written, (least, most, names) in zip(fields, _FIELDS, strict=True):
        for part in written.split(","):
            _check_range(part, least, most, names)


def _check_descriptor(spec: str) -> None:
    every = spec.removeprefix("@every ")
    if spec not in _NAMED and (every == spec or not _DURATION.fullmatch(every)):
        raise ValueError(f"unrecognized descriptor: {spec}")


def _check_range(written: str, least: int, most: int, names: dict[str, int]) -> None:
    span, *steps = written.split("/")
    ends = span.split("-")
    if len(steps) > 1 or len(ends) > 2:
        raise ValueError(f"too many slashes or hyphens: {written}")
    if ends[0] in ("*", "?"):
        low, high = least, most
    else:
        low = _number(ends[0], names)
        high = _number(ends[-1], names) if len(ends) == 2 or not steps else most
    if low < least:
        raise ValueError(f"beginning of range ({low}) below minimum ({least}): {written}")
    if high > most:
        raise ValueError(f"end of range ({high}) above maximum ({most}): {written}")
    if low > high:
        raise ValueError(f"beginning of range ({low}) beyond end of range ({high}): {written}")
    if steps and _number(steps[0], {}) == 0:
        raise ValueError(f"step of range should be a positive number: {written}")


def _number(written: str, names: dict[str, int]) -> int:
    if written.lower() in names:
        return names[written.lower()]
    if not re.fullmatch(r"\d+", written):
        raise ValueError(f"failed to parse int from {written}")
    return int(written)
