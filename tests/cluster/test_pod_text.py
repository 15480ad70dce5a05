"""What Kubernetes' own code makes of `$`, against what the local runner makes of it."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.flyte.pod_text import escaped, expanded
from tests.cluster.build import program

PROGRAM = program("kubelet-expand")
pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="kubelet-expand is not built (`scripts/test --cluster` builds it)"
)

TEXTS = st.lists(st.text(st.sampled_from("$$$(()AB é\n")) | st.text(), max_size=20)
VARIABLES = st.dictionaries(st.sampled_from(["A", "B", "AB", "", "é", "$(A"]), st.text())


def by_kubernetes(texts: list[str], variables: dict[str, str]) -> list[str]:
    given = json.dumps({"texts": texts, "variables": variables})
    done = subprocess.run([PROGRAM], input=given.encode(), capture_output=True, check=True)
    return [b64decode(data).decode("utf-8", "surrogateescape") for data in json.loads(done.stdout)]


@given(TEXTS, VARIABLES)
def test_it_is_expanded_as_by_the_kubelet(texts: list[str], variables: dict[str, str]) -> None:
    assert [expanded(text, variables) for text in texts] == by_kubernetes(texts, variables)


@given(TEXTS, VARIABLES)
def test_what_is_escaped_arrives(texts: list[str], variables: dict[str, str]) -> None:
    assert by_kubernetes([escaped(text) for text in texts], variables) == texts
