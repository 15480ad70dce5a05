"""Task ids: one per place in a run, the same in every process."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mfbuild.runtime import ids

Place = tuple[str, str, tuple[int, ...], int]
places = st.tuples(
    st.text(max_size=8),
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
    st.lists(st.integers(0, 300), max_size=3).map(tuple),
    st.integers(0, 300),
)


def test_an_id_is_the_same_in_every_version() -> None:
    assert ids.task_id("flyte-f1", "body", (0, 3), 2) == "t-56a7ff55bf493c56"


@given(places)
def test_an_id_is_no_number_and_fits_a_path(place: Place) -> None:
    assert re.fullmatch(r"t-[0-9a-f]{16}", ids.task_id(*place))
    assert ids.task_id(*place) == ids.task_id(*place)


@given(st.lists(places, min_size=2, max_size=20, unique=True))
def test_no_two_places_share_an_id(found: list[Place]) -> None:
    assert len({ids.task_id(*place) for place in found}) == len(found)


def test_the_parameters_have_an_id_of_their_own() -> None:
    assert ids.parameters_id("t-1") == "t-1-params"
