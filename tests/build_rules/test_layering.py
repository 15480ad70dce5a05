"""Which wheels share a layer, and in what order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mfbuild.python.model import LockedWheel
from mfbuild.rules.layering import BUDGET, LARGE, layering


def wheel(name: str, size: int) -> LockedWheel:
    return LockedWheel(f"{name}-1-py3-none-any.whl", name, "1", size, name.rjust(64, "0"))


def names(stack: tuple[object, ...]) -> list[list[str]]:
    return [[w.name for w in group.wheels] for group in stack]  # type: ignore[attr-defined]


BIG, HUGE = wheel("big", LARGE), wheel("huge", 9 * LARGE)
A, B, C = wheel("a", 10), wheel("b", 20), wheel("c", 30)


def test_large_wheels_are_alone_and_small_ones_pooled() -> None:
    stacks = layering({"one": [A, BIG, B, HUGE]}, {"one": 1})
    assert names(stacks["one"]) == [["huge"], ["big"], ["a", "b"]]


def test_a_second_environment_adds_only_what_is_its_own() -> None:
    stacks = layering({"one": [A, B], "two": [A, B, C]}, {"one": 1, "two": 1})
    assert names(stacks["one"]) == [["a", "b"]]
    assert names(stacks["two"]) == [["a", "b"], ["c"]]


def test_what_most_steps_use_lies_lowest() -> None:
    stacks = layering({"one": [HUGE, BIG], "two": [BIG]}, {"one": 1, "two": 3})
    assert names(stacks["one"]) == [["big"], ["huge"]]
    assert stacks["two"][0] == stacks["one"][0]


def test_more_large_wheels_than_layers_are_pooled() -> None:
    many = [wheel(f"w{n:03}", LARGE + n) for n in range(200)]
    (stack,) = layering({"one": many}, {"one": 1}).values()
    assert len(stack) == BUDGET
    assert sum(len(g.wheels) for g in stack) == 200


sizes = st.dictionaries(st.sampled_from([f"p{n}" for n in range(30)]), st.integers(1, 3 * LARGE))


@given(sizes, st.data())
def test_every_wheel_is_in_exactly_one_layer_whatever_the_order(
    given_sizes: dict[str, int], data: st.DataObject
) -> None:
    wheels = [wheel(n, s) for n, s in given_sizes.items()]
    subset = st.lists(st.sampled_from(wheels), unique=True) if wheels else st.just([])
    environments = {name: data.draw(subset) for name in ("one", "two", "three")}
    steps = {"one": 1, "two": 2, "three": 2}
    stacks = layering(environments, steps)
    for name, stack in stacks.items():
        assert sorted(w for g in stack for w in g.wheels) == sorted(environments[name])
    backwards = {n: list(reversed(w)) for n, w in reversed(environments.items())}
    assert layering(backwards, steps) == stacks
