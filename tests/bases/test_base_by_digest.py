"""Base images named by reference alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mfbuild.bases.by_digest import referenced_base
from mfbuild.engine.model import Digest
from mfbuild.errors import UsageError
from mfbuild.oci.types import LAYER_GZIP, BaseLayer, Descriptor, ForeignBase, Platform
from tests.specs import AMD64, ARM64

REFERENCE = "registry.example.com/python@sha256:" + "a" * 64
LAYER = BaseLayer(Descriptor(LAYER_GZIP, Digest("b" * 64), 7), Digest("c" * 64))
OFFICIAL = ("PATH=/usr/local/bin:/usr/bin", "PYTHON_VERSION=3.12.4")


class Registry:
    """Answers with images whose configs have these variables, and counts how often."""

    def __init__(self, *env: tuple[str, ...]) -> None:
        self.env, self.asked = env, 0

    def __call__(
        self, reference: str, platforms: Sequence[Platform]
    ) -> Mapping[Platform, ForeignBase]:
        self.asked += 1
        return {
            platform: ForeignBase("registry.example.com/python", (LAYER,), env)
            for platform, env in zip(platforms, self.env, strict=True)
        }


def test_an_official_image_says_what_python_it_has(tmp_path: Path) -> None:
    base = referenced_base(REFERENCE, [AMD64, ARM64], tmp_path, Registry(OFFICIAL, OFFICIAL), print)
    assert (base.name, base.python, base.interpreter) == (
        REFERENCE,
        "3.12",
        "/usr/local/bin/python3.12",
    )
    assert base.foreign[ARM64].layers == (LAYER,)


def test_what_a_digest_names_is_asked_once(tmp_path: Path) -> None:
    registry = Registry(OFFICIAL)
    first = referenced_base(REFERENCE, [AMD64], tmp_path, registry, print)
    assert referenced_base(REFERENCE, [AMD64], tmp_path, registry, print) == first
    assert registry.asked == 1


def test_a_damaged_answer_is_asked_again(tmp_path: Path) -> None:
    registry = Registry(OFFICIAL)
    first = referenced_base(REFERENCE, [AMD64], tmp_path, registry, print)
    (kept,) = tmp_path.glob("bases/*.json")
    kept.write_text('{"linux/amd64": 1}')
    assert referenced_base(REFERENCE, [AMD64], tmp_path, registry, print) == first
    assert registry.asked == 2


@pytest.mark.parametrize("env", [((), ()), (OFFICIAL, ()), (OFFICIAL, ("PYTHON_VERSION=3.13.0",))])
def test_an_image_that_does_not_say_is_refused(
    tmp_path: Path, env: tuple[tuple[str, ...], ...]
) -> None:
    with pytest.raises(UsageError, match="does not say which Python it holds") as caught:
        referenced_base(REFERENCE, [AMD64, ARM64], tmp_path, Registry(*env), print)
    assert "images/<name>/image.toml" in (caught.value.problems[0].hint or "")
