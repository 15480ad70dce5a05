"""Schedules: the same minutes before and after they are translated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.flyte.cron import flyte_cron


@pytest.mark.parametrize(
    ("aws", "flyte"),
    [
        ("0 * * * ? *", "0 * * * *"),  # what Metaflow makes of hourly, daily and weekly
        ("0 0 * * ? *", "0 0 * * *"),
        ("0 0 ? * SUN *", "0 0 * * SUN"),
        ("0 10 ? * 2-6 *", "0 10 * * 1-5"),
        ("0 10 ? * 1,7 *", "0 10 * * 0,6"),
        ("0 10 ? * mon-fri *", "0 10 * * MON-FRI"),
        ("0 10 ? * 2/2 *", "0 10 * * 1/2"),
        ("0 10 ? * */2 *", "0 10 * * */2"),
        ("0/15 8-17 1,15 JAN-MAR ? *", "0/15 8-17 1,15 JAN-MAR *"),
        ("5 4 * * 0", "5 4 * * 0"),  # five fields are cron's own
        ("5 4 1 * 6", "5 4 1 * 6"),
    ],
)
def test_expressions(aws: str, flyte: str) -> None:
    assert flyte_cron(aws, None) == f"CRON_TZ=UTC {flyte}"


def test_timezones_are_always_said() -> None:
    assert flyte_cron("0 0 * * ? *", "Europe/Berlin") == "CRON_TZ=Europe/Berlin 0 0 * * *"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 0 * * ? 2027", "the year `2027` of `0 0 * * ? 2027` is not supported"),
        ("0 0 * *", "`0 0 * *` has 4 fields, not 6"),
        ("", "`` has 0 fields, not 6"),
        ("0 0 L * ? *", "the day of the month `L` is not supported"),
        ("0 0 15W * ? *", "the day of the month `15W` is not supported"),
        ("0 0 ? * 6#3 *", "the day of the week `6#3` is not supported"),
        ("0 0 ? * 6L *", "the day of the week `6L` is not supported"),
        ("0 0 ? * 0 *", "the day of the week `0` is not supported"),
        ("0 0 ? * 8 *", "the day of the week `8` is not supported"),
        ("0 0 * * 7", "the day of the week `7` is not supported"),
        ("60 0 * * ? *", "the minute `60` is not supported"),
        ("0 22-2 * * ? *", "the hour `22-2` runs backwards, which is not supported"),
        (
            "0 0 ? * FRI-MON *",
            "the day of the week `FRI-MON` runs backwards, which is not supported",
        ),
        ("*/0 0 * * ? *", "the minute `*/0` has a wrong step"),
        ("/5 0 * * ? *", "the minute `/5` is not supported"),
        ("5/ 0 * * ? *", "the minute `5/` has a wrong step"),
        ("1,,2 0 * * ? *", "the minute `1,,2` is not supported"),
        ("? 0 * * ? *", "the minute `?` is not allowed"),
        ("٣ 0 * * ? *", "the minute `٣` is not supported"),
        ("0 0 1 * MON *", "`0 0 1 * MON *` has both a day of the month and of the week"),
    ],
)
def test_what_cannot_be_scheduled(expression: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        flyte_cron(expression, None)
    assert str(caught.value) == message


# An expression's meaning, field by field, by the rules of each side.


def values(field: str, first: int, last: int, names: str = "") -> set[int]:
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        begin, dash, end = ("*", "", "") if span in "*?" else span.partition("-")
        low = first if begin == "*" else number(begin, first, names)
        high = number(end, first, names) if dash else last if step or begin == "*" else low
        found |= set(range(low, high + 1, int(step or 1)))
    return found


def number(text: str, first: int, names: str) -> int:
    return int(text) if text.isdigit() else names.split().index(text) + first


MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"
DAYS = "SUN MON TUE WED THU FRI SAT"


def meaning(expression: str, sunday: int) -> Iterator[set[int]]:
    """The minutes, hours, days, months and weekdays (from Sunday = 0) that match."""
    minute, hour, day, month, weekday = expression.split()[:5]
    yield values(minute, 0, 59)
    yield values(hour, 0, 23)
    yield values(day, 1, 31)
    yield values(month, 1, 12, MONTHS)
    yield {d - sunday for d in values(weekday, sunday, sunday + 6, DAYS)}


def field(first: int, last: int, names: str = "") -> st.SearchStrategy[str]:
    words = names.split()

    def text(value: int, named: bool) -> str:
        return words[value - first] if named and words else str(value)

    value = st.integers(first, last)
    single = st.builds(text, value, st.booleans())
    spans = st.tuples(value, value, st.booleans()).map(
        lambda v: f"{text(min(v[:2]), v[2])}-{text(max(v[:2]), not v[2])}"
    )
    step = st.integers(1, 40).map(lambda n: f"/{n}")
    items = st.one_of(
        single,
        spans,
        st.builds(lambda s, n: s + n, st.one_of(st.just("*"), single, spans), step),
    )
    return st.just("*") | st.lists(items, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.one_of(
    st.tuples(
        field(0, 59), field(0, 23), field(1, 31), field(1, 12, MONTHS), st.just("?"), st.just("*")
    ),
    st.tuples(
        field(0, 59),
        field(0, 23),
        st.just("?"),
        field(1, 12, MONTHS),
        field(1, 7, DAYS),
        st.just("*"),
    ),
).map(" ".join)


@given(EXPRESSIONS)
def test_translations_mean_the_same(aws: str) -> None:
    zone, _, flyte = flyte_cron(aws, None).partition(" ")
    assert zone == "CRON_TZ=UTC"
    assert list(meaning(flyte, sunday=0)) == list(meaning(aws, sunday=1))


@given(st.text(max_size=30))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    try:
        assert len(flyte_cron(text, None).split(" ")) == 6
    except ValueError as error:
        assert str(error)
