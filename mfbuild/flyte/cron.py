"""Schedules: the cron expressions of AWS, which Metaflow takes, as Flyte's scheduler reads them."""

from __future__ import annotations

from dataclasses import dataclass

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True, slots=True)
class _Field:
    """What a field of an expression may hold; `names` stand for numbers from `first` on."""

    title: str
    first: int
    last: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
)
_AWS_WEEKDAY = _Field("day of the week", 1, 7, _DAYS)
_WEEKDAY = _Field("day of the week", 0, 6, _DAYS)


def flyte_cron(expression: str, timezone: str | None) -> str:
    """The schedule of a launch plan: five fields, with a timezone that is always said.

    `expression` has the six fields of Amazon EventBridge (weekdays are 1-7 from Sunday, the last
    is the year), or the five of cron (weekdays are 0-6). Without a timezone it is UTC, as Metaflow
    has it; Flyte would take its server's. ValueError says what cannot be scheduled.
    """
    words = expression.split()
    if len(words) not in (5, 6):
        raise ValueError(f"`{expression}` has {len(words)} fields, not 6")
    if len(words) == 6 and words[5] != "*":
        raise ValueError(f"the year `{words[5]}` of `{expression}` is not supported")
    weekday = _AWS_WEEKDAY if len(words) == 6 else _WEEKDAY
    fields = [_field(word, kind) for word, kind in zip(words, (*_FIELDS, weekday), strict=False)]
    if len(words) == 6 and fields[2] != "*" and fields[4] != "*":
        # EventBridge refuses it; cron would start the flow on either day.
        raise ValueError(f"`{expression}` has both a day of the month and of the week")
    return f"CRON_TZ={timezone or 'UTC'} {' '.join(fields)}"


def _field(word: str, kind: _Field) -> str:
    if word in ("*", "?"):
        if word == "?" and not kind.title.startswith("day"):
            raise ValueError(f"the {kind.title} `?` is not allowed")
        return "*"
    return ",".join(_item(item, word, kind) for item in word.split(","))


def _item(item: str, word: str, kind: _Field) -> str:
    """One element of a list: `*`, a value or a range, and maybe a step."""
    span, slash, step = item.partition("/")
    if slash and not (step.isdigit() and step.isascii() and int(step)):
        raise ValueError(f"the {kind.title} `{word}` has a wrong step")
    if span == "*":
        return f"*{slash}{step}"
    begin, dash, end = span.partition("-")
    values = [_value(text, word, kind) for text in ([begin, end] if dash else [begin])]
    if values[0][0] > values[-1][0]:
        raise ValueError(f"the {kind.title} `{word}` runs backwards, which is not supported")
    return f"{'-'.join(text for _, text in values)}{slash}{step}"


def _value(text: str, word: str, kind: _Field) -> tuple[int, str]:
    """A number and how Flyte writes it; weekdays of AWS are one less there."""
    if text.upper() in kind.names:
        return kind.first + kind.names.index(text.upper()), text.upper()
    if not (text.isdigit() and text.isascii() and kind.first <= int(text) <= kind.last):
        raise ValueError(f"the {kind.title} `{word}` is not supported")
    shift = 1 if kind is _AWS_WEEKDAY else 0
    return int(text), str(int(text) - shift)
