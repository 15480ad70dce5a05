"""Errors: one for all problems of a kind, and lists of names."""

from __future__ import annotations

import pytest

from mfbuild.errors import Problem, UsageError, named


def test_one_error_reports_all_problems() -> None:
    problems = [Problem("one", "file:1", "do this"), Problem("two")]
    with pytest.raises(UsageError) as caught:
        UsageError.raise_for(iter(problems))
    assert caught.value.problems == tuple(problems)
    assert str(caught.value) == "one"


def test_no_problem_is_no_error() -> None:
    UsageError.raise_for([])


@pytest.mark.parametrize(
    ("names", "told"),
    [("a", "`a`"), ("abc", "`a`, `b`, `c`"), ("abcde", "`a`, `b`, `c` and 2 more"), ("", "")],
)
def test_the_first_names_stand_for_all(names: str, told: str) -> None:
    assert named(list(names)) == told
