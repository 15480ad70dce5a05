"""The command line of a container, with what propeller may put into it."""

from __future__ import annotations

import pytest

from mfbuild.runtime.arguments import Person, parse


def test_everything_has_a_default_but_the_step() -> None:
    arguments = parse(["start"], {})
    assert (arguments.step, arguments.run.id, arguments.path) == ("start", "flyte-local", ())
    assert (arguments.count, arguments.iteration, arguments.attempt) == (None, 0, 0)
    assert arguments.person == Person()


def test_the_run_follows_the_execution_unless_it_is_given() -> None:
    environ = {"FLYTE_INTERNAL_EXECUTION_ID": "f123", "FLYTE_ATTEMPT_NUMBER": "2"}
    assert parse(["a", "--run", ""], environ).run.id == "flyte-f123"
    assert parse(["a", "--run", "flyte-other"], environ).run.id == "flyte-other"
    assert parse(["a"], environ).attempt == 2


def test_the_own_split_ends_the_path() -> None:
    assert parse(["a", "--path", "0/3"], {}).path == (0, 3)
    assert parse(["a", "--path", "0/3", "--split", "0"], {}).path == (0, 3, 0)
    assert parse(["a", "--path", "", "--split", "7"], {}).path == (7,)


def test_a_value_may_look_like_an_option() -> None:
    assert parse(["a", "--code", "--plan", "--plan", ""], {}).code == "--plan"


def test_the_rest_is_read() -> None:
    argv = ["a", "--count", "3", "--iteration", "4", "--user-retries", "2", "--retry-delay", "1.5"]
    arguments = parse([*argv, "--input", "i", "--output", "s3://b/o/"], {})
    assert (arguments.count, arguments.iteration, arguments.user_retries) == (3, 4, 2)
    assert (arguments.retry_delay, arguments.input, arguments.output) == (1.5, "i", "s3://b/o")


def test_a_person_may_know_more_than_this_version() -> None:
    person = Person.from_json('{"tags": ["a", "b"], "branch": "x", "newer": 1, "user": null}')
    assert person == Person(tags=("a", "b"), branch="x")


@pytest.mark.parametrize(
    "argv",
    [[], [""], ["--code", "x"], ["a", "--code"], ["a", "--cod", "x"], ["a", "b", "--code"]],
)
def test_a_wrong_command_line_is_refused(argv: list[str]) -> None:
    with pytest.raises(ValueError, match="not an option with a value"):
        parse(argv, {})
