"""Every string that reaches a pod arrives as it was, with whatever `$` is in it.

tests/cluster/test_pod_text.py holds `expanded` against Kubernetes' own code.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.engine.model import Digest
from mfbuild.errors import FlyteError
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.literals import literal
from mfbuild.flyte.names import CODE, PLAN, RUN
from mfbuild.flyte.pod_text import escaped_json, expanded
from mfbuild.flyte.resolve import Site, resolve
from mfbuild.flyte.templates import address, environment_of
from mfbuild.local.sandbox.pod import PodContext, prepare
from mfbuild.local.workflow.model import Attempt
from tests.specs import flow, step

TEXT = st.text(st.sampled_from("$$$(()AB é")) | st.text(st.characters(codec="utf-8"))
NAMES = st.sampled_from(["A", "B", "METAFLOW_A", "ZZ"])


@given(
    variables=st.dictionaries(NAMES, TEXT),
    settings=st.dictionaries(st.just("METAFLOW_A"), TEXT),
    options=st.lists(TEXT),
    tags=st.lists(TEXT, max_size=3),
    folder=st.text(st.sampled_from("$()AB"), min_size=1),
    pod=st.booleans(),
)
def test_every_string_arrives(
    variables: dict[str, str],
    settings: dict[str, str],
    options: list[str],
    tags: list[str],
    folder: str,
    pod: bool,
) -> None:
    spec = flow(replace(step(kind="end"), environment=variables))
    secrets = ("pull",) if pod else ()
    person = json.dumps({"tags": tags})
    site = Site("p", "d", {"start": "image"}, settings, image_pull_secrets=secrets, person=person)
    resolved = resolve(compile_flow(spec, options=options), site, version="f" * 40)
    fixed = resolved.with_addresses({CODE: "c", PLAN: "p"}).launch_plan.fixed_inputs
    task = resolved.tasks["start"]
    run = json.dumps({"id": folder})
    values = {**dict(fixed.literals), RUN: literal(escaped_json(run))}
    with TemporaryDirectory() as name:
        context = PodContext("p", "d", "w", "e", Path(name, folder))
        job = prepare(Attempt("n", 0, task, values, values), context, {})
    seen = {**settings, **variables}
    assert {n: job.env[n] for n in seen} == seen == {n: environment_of(task)[n] for n in seen}
    assert json.loads(job.env["MFBUILD_OPTIONS"]) == options
    words = dict(zip(job.argv[4::2], job.argv[5::2], strict=True))
    assert [json.loads(words[f"--{n}"]) for n in ("person", "run")] == [
        {"tags": tags},
        {"id": folder},
    ]
    assert [words["--code"], words["--plan"]] == ["c", "p"]
    assert words["--output"] == str(Path(name, folder, "n", "0"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$$(A)", "$(A)"),
        ("$(A)$(B)", "1$(B)"),
        ("$", "$"),
        ("$(A", "$(A"),
        ("$($(A))", "$($(A))"),
        ("$A$$", "$A$"),
    ],
)
def test_what_kubernetes_makes_of_a_dollar(text: str, found: str) -> None:
    assert expanded(text, {"A": "1"}) == found


def test_an_address_with_a_dollar_is_refused() -> None:
    with pytest.raises(FlyteError, match="no container can be told an address with"):
        address("s3://bucket/$(HOME)", Digest("0" * 64))
