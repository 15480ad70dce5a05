"""Which wheels an image installs."""

from __future__ import annotations

import re
import sys

import pytest
from packaging.tags import parse_tag, sys_tags

from mfbuild.errors import ResolveError
from mfbuild.oci.types import Platform
from mfbuild.python.tags import markers, uv_platform, wheel_tags

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def rank(tag: str, platform: Platform = AMD64, glibc: str = "2.36") -> int:
    """The place of the best of the tags; -1 where none fits."""
    tags = list(wheel_tags("3.11", glibc, platform))
    found = [tags.index(t) for t in parse_tag(tag) if t in tags]
    return min(found, default=-1)


def test_tags_go_from_the_most_to_the_least_specific() -> None:
    order = [
        "cp311-cp311-linux_x86_64",
        "cp311-cp311-manylinux_2_36_x86_64",
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux2014_x86_64",
        "cp311-cp311-manylinux1_x86_64",
        "cp311-abi3-manylinux_2_28_x86_64",
        "cp311-none-manylinux_2_28_x86_64",
        "cp39-abi3-manylinux_2_28_x86_64",
        "py311-none-manylinux_2_17_x86_64",
        "py3-none-manylinux_2_17_x86_64",
        "py3-none-any",
    ]
    ranks = [rank(tag) for tag in order]
    assert ranks == sorted(ranks) and ranks[0] == 0


@pytest.mark.parametrize(
    "tag",
    [
        "cp311-cp311-manylinux_2_37_x86_64",
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp312-abi3-manylinux_2_17_x86_64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp311-cp311-macosx_11_0_arm64",
        "cp311-cp311-win_amd64",
        "py2-none-any",
    ],
)
def test_what_the_image_cannot_load_does_not_fit(tag: str) -> None:
    assert rank(tag) == -1


def test_arm_has_its_own_wheels_from_glibc_2_17_on() -> None:
    assert rank("cp311-cp311-manylinux2014_aarch64", ARM64) > 0
    assert rank("cp311-cp311-manylinux_2_16_aarch64", ARM64) == -1
    assert rank("cp311-cp311-manylinux_2_12_x86_64") > 0


@pytest.mark.skipif(sys.platform != "linux", reason="this machine has no Linux tags to compare")
def test_the_tags_are_those_of_the_real_interpreter() -> None:
    theirs = [str(tag) for tag in sys_tags() if "musl" not in tag.platform]
    newest = re.search(r"manylinux_2_(\d+)_(\w+)", " ".join(theirs))
    assert newest
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    platform = {"x86_64": AMD64, "aarch64": ARM64}[newest[2]]
    assert {str(t) for t in wheel_tags(python, f"2.{newest[1]}", platform)} == set(theirs)


def test_markers_are_those_of_the_image() -> None:
    found = markers("3.12", ARM64)
    assert found["platform_machine"] == "aarch64"
    assert found["python_version"] == "3.12"
    assert found["python_full_version"] == "3.12.0"
    assert found["sys_platform"] == "linux"
    whole = markers("3.12.4", ARM64)
    assert [whole["python_version"], whole["python_full_version"]] == ["3.12", "3.12.4"]
    assert wheel_tags("3.12.4", "2.36", ARM64) == wheel_tags("3.12", "2.36", ARM64)


@pytest.mark.parametrize(
    ("glibc", "expected"),
    [("2.36", "2_36"), ("2.17", "2_17"), ("2.30", "2_28"), ("2.41", "2_40")],
)
def test_uv_gets_the_newest_platform_that_it_knows(glibc: str, expected: str) -> None:
    assert uv_platform(glibc, ARM64) == f"aarch64-manylinux_{expected}"


def test_platforms_that_no_image_has_are_refused() -> None:
    with pytest.raises(ResolveError, match="platform `windows/amd64` is not supported"):
        wheel_tags("3.11", "2.36", Platform("windows", "amd64"))
    with pytest.raises(ResolveError, match="platform `linux/s390x` is not supported"):
        uv_platform("2.36", Platform("linux", "s390x"))
    with pytest.raises(ResolveError, match=r"glibc `2\.12` is too old"):
        uv_platform("2.12", AMD64)
    with pytest.raises(ResolveError, match="`three` is not a version"):
        wheel_tags("three", "2.36", AMD64)
