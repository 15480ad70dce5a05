"""`flow.py flyte create`: what is deployed, in whose name, and what a second time changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Done
from tests.metaflow_side.flows import Metaflow, hello, succeed, text


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    return hello(tmp_path / "flows/flow.py")


def version(done: Done) -> str:
    """The version that a deployment told."""
    return text(succeed(done)).partition("successfully: version ")[2].split()[0]


def test_what_is_deployed_is_found_and_runs(metaflow: Metaflow, flow: Path) -> None:
    first = metaflow(flow, "flyte", "create")
    assert "deployed to Flyte successfully: version " in text(first)
    again = metaflow(flow, "flyte", "create")
    assert version(again) == version(first)
    assert "nothing to register" in again.err
    assert "loaded" not in again.err
    run = metaflow.triggered(flow)
    assert run.startswith("flyte-r")
    found = f"run({run!r})"
    assert metaflow.client(f"[{found}.finished, {found}['start'].task.data.greeting]") == [
        True,
        "hello, world",
    ]


def test_a_flow_that_flyte_cannot_run_is_refused(metaflow: Metaflow, tmp_path: Path) -> None:
    flow = hello(tmp_path / "flow.py", "@trigger(event='x')")
    done = metaflow(flow, "flyte", "create")
    assert done.code == 1
    assert "Flyte: @trigger is not supported at flow.py:5 hint: start an execution" in text(done)


def test_somebody_else_needs_the_token(metaflow: Metaflow, flow: Path, tmp_path: Path) -> None:
    """The token is made as Metaflow makes it for its other schedulers."""
    assert "production:hello-0-" in succeed(metaflow(flow, "flyte", "create")).err
    (token,) = (tmp_path / "home/.metaflowconfig").glob("hello")
    kept = token.read_text()
    other = {"METAFLOW_USER": "eve", "HOME": str(tmp_path / "other")}
    for words in (("create",), ("deactivate",), ("delete",)):
        refused = metaflow(flow, "flyte", *words, **other)
        assert refused.code == 1
        assert "which was deployed by the user ada" in text(refused)
        assert "Incorrect production token" in text(refused)
    authorized = kept.split('"')[3]
    done = metaflow(flow, "flyte", "create", "--authorize", f"production:{authorized}", **other)
    succeed(done)
    succeed(metaflow(flow, "flyte", "create", **other))  # it was kept
    succeed(metaflow(flow, "flyte", "deactivate", **other))


def test_what_nobody_has_deployed_is_nobody_s(metaflow: Metaflow, flow: Path) -> None:
    """To run a flow takes no token, gives none, and leaves the one of what is deployed alone."""
    other = {"METAFLOW_USER": "eve", "HOME": str(metaflow.root / "other")}
    succeed(metaflow(flow, "flyte", "run", **other))
    succeed(metaflow(flow, "flyte", "create"))
    succeed(metaflow(flow, "flyte", "run", **other))
    succeed(metaflow(flow, "flyte", "deactivate"))
    refused = metaflow(flow, "flyte", "create", **other)
    assert "deployed by the user ada" in text(refused)


def test_runs_are_found_in_their_namespace(metaflow: Metaflow, flow: Path) -> None:
    succeed(metaflow(flow, "flyte", "create"))
    deployed = metaflow.triggered(flow)
    file = metaflow.root / "own"
    succeed(metaflow(flow, "flyte", "run", "--run-id-file", str(file), "--tag", "mine"))
    code = (
        "import metaflow, sys\n"
        "flow = metaflow.Flow('Hello')\n"
        "print([r.id for r in flow], metaflow.get_namespace(), 'mine' in flow[sys.argv[1]].tags)\n"
        "metaflow.namespace('production:' + sys.argv[2])\n"
        "print([r.id for r in metaflow.Flow('Hello')])"
    )
    (kept,) = (metaflow.root / "home/.metaflowconfig").glob("hello")
    token = json.loads(kept.read_text())["production_token"]
    found = succeed(metaflow.python("-c", code, file.read_text(), token)).out
    assert found == f"{[file.read_text()]} user:ada True\n{[deployed]}\n"


def test_tokens_are_made_anew_or_given(metaflow: Metaflow, flow: Path) -> None:
    succeed(metaflow(flow, "flyte", "create"))
    done = succeed(metaflow(flow, "flyte", "create", "--generate-new-token"))
    assert "production:hello-1-" in done.err
    done = succeed(metaflow(flow, "flyte", "create", "--new-token", "production:mine"))
    assert "production:mine\n" in done.err.replace("\x1b[K", "")
    done = metaflow(flow, "flyte", "create", "--generate-new-token")
    assert "not supported after using --new-token" in text(done)


def test_the_same_code_may_be_deployed_in_another_name(metaflow: Metaflow, flow: Path) -> None:
    """The version is the code's, but tags, token and namespace take effect all the same."""
    first = version(metaflow(flow, "flyte", "create", "--tag", "a"))
    tags = "sorted(run({!r}).tags)"
    assert "a" in metaflow.client(tags.format(metaflow.triggered(flow)))
    words = ("--tag", "b$$b", "--new-token", "mine", "--max-workers", "3")
    second = version(metaflow(flow, "flyte", "create", *words))
    assert second != first
    told = metaflow.client(tags.format(metaflow.triggered(flow)))
    assert {"b$$b", "production:mine"} <= set(told) and "a" not in told
    back = version(metaflow(flow, "flyte", "create", "--tag", "a", "--new-token", "mine"))
    assert back not in (first, second)


def test_wrong_tags_are_metaflow_s_to_refuse(metaflow: Metaflow, flow: Path) -> None:
    done = metaflow(flow, "flyte", "create", "--tag", "x" * 501)
    assert done.code == 1 and "Tag" in done.err


def test_a_flow_that_is_deactivated(metaflow: Metaflow, flow: Path) -> None:
    done = metaflow(flow, "flyte", "deactivate")
    assert done.code == 1 and "nothing is registered as `Hello` in local/development" in text(done)
    succeed(metaflow(flow, "flyte", "create"))
    assert "Hello is active no more." in text(succeed(metaflow(flow, "flyte", "delete")))
    assert "Hello was not active." in text(succeed(metaflow(flow, "flyte", "deactivate")))


PROJECT = "@project(name='team')"


def test_two_branches_at_once(metaflow: Metaflow, tmp_path: Path) -> None:
    """They are one version with two names, and each branch's runs say which one they are of."""
    flow = hello(tmp_path / "flow.py", PROJECT)
    branches = {
        ("--branch", "exp"): "test.exp",
        ("--production",): "prod",
        (): "user.ada",
    }
    versions = set()
    for words, branch in branches.items():
        done = metaflow(flow, *words, "flyte", "create")
        assert f"Workflow team.{branch}.Hello for flow Hello deployed" in text(done)
        versions.add(version(done))
    assert len(versions) == 1
    for words, branch in branches.items():
        run = metaflow.triggered(flow, top=words)
        tags = metaflow.client(f"sorted(run({run!r}).tags)")
        assert f"project_branch:{branch}" in tags and "project:team" in tags
        other = next(w for w in branches if w != words)
        done = metaflow(flow, *other, "flyte", "status", run)
        assert f"belongs to `team.{branch}.Hello`, not to" in text(done)
        assert succeed(metaflow(flow, *words, "flyte", "status", run)).out == "Succeeded\n"


BUILD = """
[domain.development]
[domain.staging]
branches = ["test.*"]
[domain.production]
branches = ["prod", "prod.*"]
"""


@pytest.mark.parametrize(
    ("top", "group", "domain", "env"),
    [
        ((), (), "development", {}),
        (("--branch", "exp"), (), "staging", {}),
        (("--production",), (), "production", {}),
        (("--production", "--branch", "exp"), (), "production", {}),
        (("--production",), (), "staging", {"MFBUILD_DOMAIN": "staging"}),
        (("--production",), ("--domain", "development"), "development", {"MFBUILD_DOMAIN": "x"}),
    ],
)
def test_the_branch_may_name_the_domain(
    metaflow: Metaflow,
    tmp_path: Path,
    top: tuple[str, ...],
    group: tuple[str, ...],
    domain: str,
    env: dict[str, str],
) -> None:
    flow = hello(tmp_path / "flow.py", PROJECT)
    (tmp_path / "BUILD.toml").write_text(BUILD)
    done = metaflow(flow, *top, "flyte", *group, "create", **env)
    assert f" in local/{domain} of local." in text(succeed(done))


def test_what_the_flow_says_counts_more_than_the_environment(
    metaflow: Metaflow, tmp_path: Path
) -> None:
    flow = hello(tmp_path / "flow.py", "@flyte(project='own', domain='staging')")
    env = {"MFBUILD_DOMAIN": "production", "MFBUILD_PROJECT": "other"}
    done = succeed(metaflow(flow, "flyte", "create", **env))
    assert " in own/staging of local." in text(done)
    done = succeed(metaflow(flow, "flyte", "--project", "p", "--domain", "production", "create"))
    assert " in p/production of local." in text(done)
    done = metaflow(flow, "flyte", "--domain", "produktion", "create")
    assert "there is no domain `produktion` hint: did you mean `production`?" in text(done)


def test_options_that_mean_nothing_to_a_task_change_no_version(
    metaflow: Metaflow, flow: Path
) -> None:
    first = version(metaflow(flow, "flyte", "create"))
    assert version(metaflow(flow, "--no-pylint", "flyte", "create")) == first
    assert version(metaflow(flow, "--with", "retry", "flyte", "create")) != first


def test_packages_and_shows_what_it_would_deploy(metaflow: Metaflow, flow: Path) -> None:
    path = succeed(metaflow(flow, "flyte", "package")).out.strip()
    name = Path(path).name
    assert name.startswith("Hello-") and Path(path, "bundle.json").is_file()
    assert version(metaflow(flow, "flyte", "create")) == name.partition("-")[2][:12]


CONFIGURED = """
from metaflow import Config, FlowSpec, config_expr, flyte, resources, step


@flyte(domain=config_expr("settings.domain"))
class Configured(FlowSpec):
    settings = Config("settings", default_value={"domain": "staging", "word": "", "memory": 1})

    @resources(memory=config_expr("settings.memory"))
    @step
    def start(self):
        self.word = self.settings.word
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Configured()
"""


def test_a_config_of_the_command_line_is_deployed(metaflow: Metaflow) -> None:
    flow = metaflow.write("configured.py", CONFIGURED)
    default = version(metaflow(flow, "flyte", "create"))
    (metaflow.root / "config.json").write_text('{"domain": "production", "word": "x", "memory": 7}')
    given = ("--config", "settings", str(metaflow.root / "config.json"))
    done = metaflow(flow, *given, "flyte", "create")
    assert version(done) != default
    assert " in local/production of " in text(done)
    run = metaflow.triggered(flow, top=given)
    assert metaflow.client(f"run({run!r})['start'].task.data.word") == "x"
