"""Which of Metaflow's top-level options shape what is packaged."""

from __future__ import annotations

import pytest

from metaflow_extensions.mfbuild.plugins.flyte.remote import shaping


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", ""),
        ("--no-pylint --quiet", ""),
        ("--branch exp --production", ""),
        ("--branch=exp --with retry", "--with retry"),
        ("--with flyte --with flyte:domain=x --with=flyte --with=retry", "--with=retry"),
        ("--with flyte_other --with", "--with flyte_other --with"),
        ("--datastore s3 --config cfg file.json", "--datastore s3 --config cfg file.json"),
    ],
)
def test_options_that_shape_the_flow_are_kept(words: str, kept: str) -> None:
    assert shaping(words.split()) == tuple(kept.split())
