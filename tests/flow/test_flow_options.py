"""Metaflow's top-level options are read as Metaflow's own click reads them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.flow.options import FlowOption, flow_options, value_of

click: Any = import_module("metaflow._vendor.click")
cli: Any = import_module("metaflow.cli")
plugins: Any = import_module("metaflow.plugins")


def metaflows() -> Any:
    """Metaflow's command of top-level options, with those of its decorators and of Configs."""
    found = [
        *(p for p in cli.start.params if p.param_type_name == "option"),
        *(click.Option([name], nargs=2, multiple=True) for name in ("--config", "--config-value")),
    ]
    for decorator in plugins.FLOW_DECORATORS:
        for name, keywords in decorator.options.items():
            found.append(click.Option([f"--{name}"], **keywords))
    return click.Command("start", params=found)


COMMAND = metaflows()
NAMES = [name for p in COMMAND.params for name in (*p.opts, *p.secondary_opts)]
OPTIONS = {name: p for p in COMMAND.params for name in (*p.opts, *p.secondary_opts)}


def as_click_reads(words: Sequence[str]) -> list[tuple[str, Any]]:
    """Parameter and value of each option, in order; its `name` for an option without a value."""
    seen: list[tuple[str, Any]] = []
    parser = click.parser.OptionParser(click.Context(COMMAND))
    for param in COMMAND.params:
        param.add_to_parser(parser, parser.ctx)
    for name, option in parser._long_opt.items():
        option.process = lambda value, state, name=name: seen.append((name, value))
    _, rest, _ = parser.parse_args(list(words))
    assert rest == []
    return seen


def as_we_read(words: Sequence[str]) -> list[tuple[str, Any]]:
    return [(option.name, _value(option)) for option in flow_options(words)]


def _value(option: FlowOption) -> Any:
    several = option.name in ("--config", "--config-value")
    return option.values if several else option.values[0] if option.values else None


VALUES = st.text(max_size=5) | st.sampled_from([*NAMES, "--", "-", "=", "--branch=x", "flyte:a=b"])


def written(name: str) -> st.SearchStrategy[list[str]]:
    """An option with its values, as `--name value` or `--name=value`."""
    count = 0 if OPTIONS[name].is_flag else OPTIONS[name].nargs
    values = st.lists(VALUES, min_size=count, max_size=count)
    apart = values.map(lambda found: [name, *found])
    return apart | values.map(lambda found: [f"{name}={found[0]}", *found[1:]]) if count else apart


@given(st.lists(st.sampled_from(NAMES).flatmap(written), max_size=6))
def test_every_command_line_is_read_as_click_reads_it(options: list[list[str]]) -> None:
    words = [word for option in options for word in option]
    assert as_we_read(words) == as_click_reads(words)
    assert [list(option.words) for option in flow_options(words)] == options


def test_the_options_of_a_flow_are_known() -> None:
    assert {"--branch", "--production", "--trigger", "--config", "--with", "--datastore"} <= {
        *NAMES
    }


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--own --branch x", ["--own", "--branch x"]),
        ("--own a b --branch x", ["--own a b", "--branch x"]),
        ("--own=a --production", ["--own=a", "--production"]),
        ("x --production", ["x", "--production"]),
        ("--config cfg", ["--config cfg"]),
        ("--branch", ["--branch"]),
    ],
)
def test_others_options_and_broken_ones_hide_none_of_metaflows(
    words: str, options: list[str]
) -> None:
    assert [" ".join(option.words) for option in flow_options(words.split())] == options


def test_the_last_value_counts() -> None:
    words = ["--with", "--branch=a", "--branch", "b", "--branch=c=d", "--config", "--branch", "e"]
    assert value_of(words, "--branch") == "c=d"
    assert value_of(words, "--datastore") is None
