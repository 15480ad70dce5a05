"""Deployments: Metaflow's names of @project, and the JSON that travels."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from mfbuild.errors import UsageError
from mfbuild.flow.spec import DecoratorSpec, Project
from mfbuild.push.deployment import Deployment, branch_of_run
from tests.push.pushing import train_flow

PLAIN = Deployment("alice")


def in_project(**attributes: Any) -> Any:
    decorator = DecoratorSpec("project", {"name": "recsys", **attributes}, explicit=True)
    return train_flow(project=Project("recsys"), decorators=(decorator,))


METAFLOW = """
import json
from metaflow.plugins.project_decorator import format_name
print(json.dumps([
    format_name("TrainFlow", "recsys", production, branch, "alice")[0]
    for branch in (None, "exp_1") for production in (False, True)
]))
"""


def test_names_are_those_that_metaflow_gives() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", METAFLOW], capture_output=True, check=True
    )
    ours = [
        replace(PLAIN, branch=branch, production=production).prefix(in_project()) + "TrainFlow"
        for branch in (None, "exp_1")
        for production in (False, True)
    ]
    assert json.loads(done.stdout) == ours


def test_the_decorator_names_the_branch_too() -> None:
    assert PLAIN.prefix(in_project(branch="b", production=True)) == "recsys.prod.b."
    assert replace(PLAIN, branch="b").prefix(in_project(branch="b")) == "recsys.test.b."
    with pytest.raises(UsageError, match=r"`--branch` contradicts @project\(branch='a'\)"):
        replace(PLAIN, branch="b").prefix(in_project(branch="a"))


def test_nobody_has_no_branch_of_their_own() -> None:
    nobody = replace(PLAIN, owner=None)
    with pytest.raises(UsageError, match="nothing says who you are"):
        nobody.prefix(in_project())
    assert replace(nobody, branch="b").prefix(in_project()) == "recsys.test.b."
    assert nobody.person() == "{}"


def test_without_project_there_is_no_prefix() -> None:
    assert replace(PLAIN, branch="b").prefix(train_flow()) == ""


@pytest.mark.parametrize("branch", ["a.b", "A", "a/b", "a" * 129, "ä"])
def test_a_branch_that_metaflow_refuses(branch: str) -> None:
    with pytest.raises(UsageError, match="is not made of lower-case letters"):
        replace(PLAIN, branch=branch).prefix(in_project())


@pytest.mark.parametrize(
    ("words", "environ", "found"),
    [
        ("", {}, (None, False)),
        ("--branch a --branch=b --production", {"METAFLOW_BRANCH": "c"}, ("b", True)),
        ("--with --production --datastore-root --branch", {}, (None, False)),
        ("", {"METAFLOW_FLOW_BRANCH": "c", "METAFLOW_PRODUCTION": "yes"}, ("c", True)),
    ],
)
def test_the_branch_of_a_run_is_that_of_metaflow(
    words: str, environ: dict[str, str], found: tuple[str | None, bool]
) -> None:
    assert branch_of_run(words.split(), environ) == found


def test_the_person_is_what_is_set() -> None:
    whole = Deployment("bob", "user:bob", ("b", "a"), "x", True, "token")
    assert json.loads(whole.person()) == {
        "user": "bob",
        "namespace": "user:bob",
        "tags": ["b", "a"],
        "branch": "x",
        "production": True,
        "production_token": "token",
    }
    assert PLAIN.person() == '{"user":"alice"}'
