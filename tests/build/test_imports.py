"""Which imports of a flow's file count before any step can begin."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.build.imports import top_level_imports


def of(text: str) -> dict[str, int]:
    return dict(top_level_imports(textwrap.dedent(text).encode()))


def test_modules_are_called_by_their_first_names_and_first_lines() -> None:
    found = of(
        """\
        import numpy as np, scipy.stats
        from sklearn.svm import SVC
        from . import near
        import numpy.linalg
        import os, json.decoder
        from metaflow import FlowSpec
        from __future__ import annotations
        """
    )
    assert found == {"numpy": 1, "scipy": 1, "sklearn": 2}


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import pandas\nexcept ImportError:\n    pandas = None\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\n",
        "def step():\n    import pandas\n",
        "class Flow:\n    import pandas\n",
        "'import pandas'\n",
    ],
)
def test_what_may_never_be_imported_does_not_count(text: str) -> None:
    assert of(text) == {}


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_a_file_that_cannot_be_read_imports_nothing(source: bytes) -> None:
    found = top_level_imports(b"import one\n" + source)
    assert found.keys() >= {"one"} or not found
