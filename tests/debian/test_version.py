from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.debian.version import version_key

ASCENDING = (
    "0~~",
    "0~",
    "0",
    "0a",
    "0.9~rc1-1",
    "0.9-1",
    "1.0~~-1",
    "1.0~-1",
    "1.0~beta2-1",
    "1.0~beta10-1",
    "1.0",
    "1.0-1~deb12u1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+deb12u1",
    "1.0-1.1",
    "1.0-2",
    "1.0-10",
    "1.0a-1",
    "1.0+dfsg-1",
    "1.0-1-1",
    "1.0.1-1",
    "1.2-1",
    "1.10-1",
    "2.36-9+deb12u9",
    "2.36-9+deb12u14",
    "1:0.1",
    "2:0.0~",
)


@pytest.mark.parametrize(("older", "newer"), list(pairwise(ASCENDING)))
def test_newer_versions_have_greater_keys(older: str, newer: str) -> None:
    assert version_key(older) < version_key(newer)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.0", "1.0-0"), ("0:1", "1"), ("1.01", "1.1"), ("1a", "1a0"), ("1.", "1.0")],
)
def test_some_spellings_are_equal(one: str, other: str) -> None:
    assert version_key(one) == version_key(other)


def test_an_epoch_is_a_number() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        version_key("x:1.0")


@pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg is not installed")
@settings(deadline=None, max_examples=150)
@given(
    st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,6}(-[0-9a-z.+~]{1,4})?", fullmatch=True),
    st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,6}(-[0-9a-z.+~]{1,4})?", fullmatch=True),
)
def test_the_order_is_that_of_dpkg(one: str, other: str) -> None:
    command = ["dpkg", "--compare-versions", one, "lt", other]
    is_older = subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
    assert (version_key(one) < version_key(other)) == is_older
