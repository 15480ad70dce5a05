"""Passwords and tokens of a push: in no output, no log of a bug, no file, no registration."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc import StatusCode

from tests.e2e.conftest import FLOW, Done, Runner, write_flow
from tests.flyteadmin.double import Double, flyteadmin
from tests.flyteadmin.faults import PUT, answer
from tests.push.pushing import PROJECT, write_policy
from tests.registry import PASSWORD, USER, docker_registry

pytestmark = pytest.mark.tools

TOKEN = "flyte-token-of-alice"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SECRETS = (PASSWORD, BASIC, TOKEN, "signature=")
"""The password of the registry, plain and as it is kept and sent, the token of Flyte, and what
makes an address of the bucket one that may be written to."""


@dataclass(frozen=True)
class Shop:
    """A Flyte that wants TOKEN and a registry that wants PASSWORD, and a folder with a flow."""

    folder: Path
    double: Double
    registry: str
    mfbuild: Runner

    @property
    def env(self) -> dict[str, str]:
        """Who is logged in; all that a push writes besides goes below `folder` or the store."""
        return {
            "DOCKER_CONFIG": str(self.folder / "docker"),
            "MFBUILD_FLYTE_TOKEN": TOKEN,
            "METAFLOW_USER": "alice",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def __call__(self, *words: str, **env: str) -> Done:
        """Run mfbuild; what it says has no secret in it."""
        done = self.mfbuild(*words, cwd=self.folder / "work", **{**self.env, **env})
        assert found(done.out + done.err) == []
        return done

    def broken(self, program: str, *words: str) -> str:
        """The log of the bug that `program` makes in a push, which must end with exit code 3."""
        main = "from mfbuild.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
        env = {**os.environ, **self.env, "MFBUILD_STORE": str(self.mfbuild.store)}
        command = [sys.executable, "-c", f"{program}\n{main}", *words]
        done = subprocess.run(
            command, cwd=self.folder / "work", env=env, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        said, _, log = done.stderr.strip().rpartition(" ")
        assert said.splitlines()[-1] == "error: this is a bug in mfbuild; the log is"
        text = Path(log).read_text()
        assert "Traceback" in text
        return f"{done.stderr}\n{text}"


def found(text: str) -> list[str]:
    """The secrets in a text."""
    return [secret for secret in SECRETS if secret in text]


@pytest.fixture(scope="module")
def shop(session_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    for name in ("docker", "home", "tmp"):
        (folder / name).mkdir()
    with ExitStack() as stack:
        registry = stack.enter_context(docker_registry(folder / "registry", login=True))
        double = stack.enter_context(flyteadmin(folder / "admin", projects=[PROJECT], token=TOKEN))
        login = {"auths": {registry: {"auth": BASIC}}}
        (folder / "docker/config.json").write_text(json.dumps(login))
        write_flow(folder / "work")
        write_policy(folder / "work", double.endpoint, registry)
        yield Shop(folder, double, registry, Runner(session_store))


def test_from_the_sources_to_production(shop: Shop, session_store: Path) -> None:
    began = time.time()
    done = shop("push", "flow.py", "-d", "staging")
    assert done.code == 0, done.err
    for words in (
        ("push", "flow.py", "-d", "staging", "--json", "--progress", "json"),
        ("push", "-d", "staging", "--dry-run", "--progress", "plain"),
        ("versions", "SmallFlow", "-d", "staging", "--json"),
        ("promote", "SmallFlow", "--from", "staging", "--to", "production", "--activate"),
        ("trigger", "SmallFlow", "-d", "production"),
        ("status", "-d", "production", "--json"),
        ("export", "flow.py", "--flytectl", "-d", "staging", "-o", "out.tgz"),
    ):
        done = shop(*words)
        assert done.code == 0, (words, done.err)
    files = [file for file in shop.folder.rglob("*") if file.is_file()]
    assert {"registry", ".mfbuild", "out.tgz"} <= {part for file in files for part in file.parts}
    stored = (file for file in session_store.rglob("*") if file.is_file())
    files += [file for file in stored if file.stat().st_mtime >= began]
    kept = [file for file in files if found(file.read_bytes().decode("latin1"))]
    assert kept == [shop.folder / "docker/config.json"]
    state = shop.double.state
    tables = (state.tasks, state.workflows, state.launch_plans, state.executions)
    assert all(table.rows for table in tables)
    assert found("".join(str(row.message) for table in tables for row in table.in_order())) == []


def test_a_login_that_is_refused(shop: Shop, tmp_path: Path) -> None:
    """What is refused is a secret too: it may be one of another place."""
    done = shop("push", "flow.py", "-d", "staging", MFBUILD_FLYTE_TOKEN=f"{TOKEN}-of-yesterday")
    endpoint = f"`{shop.double.endpoint}`"
    assert (done.code, done.out) == (1, "")
    assert errors(done) == [f"{endpoint} does not accept the token in `MFBUILD_FLYTE_TOKEN`"]
    wrong = base64.b64encode(f"{USER}:{PASSWORD}-of-yesterday".encode()).decode()
    login = {"auths": {shop.registry: {"auth": wrong}}}
    (tmp_path / "config.json").write_text(json.dumps(login))
    done = shop("push", "flow.py", "-d", "staging", "--json", DOCKER_CONFIG=str(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert wrong not in done.err
    assert errors(done) == [f"`{shop.registry}` does not let you push to `staging/smallflow`"]
    (tmp_path / "config.json").write_text(f'{{"auths": "{BASIC}')
    done = shop("push", "flow.py", "-d", "staging", DOCKER_CONFIG=str(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert errors(done) == [f"`{tmp_path / 'config.json'}` cannot be read: JSONDecodeError"]
    done = shop("push", "flow.py", "-d", "staging", MFBUILD_FLYTE_TOKEN=f"{TOKEN}\nand more")
    assert (done.code, done.out) == (2, "")
    assert errors(done) == ["`MFBUILD_FLYTE_TOKEN` holds something that is not a token"]


@pytest.mark.parametrize("progress", ["plain", "json"])
def test_calls_that_fail(shop: Shop, progress: str) -> None:
    (shop.folder / "work/helper.py").write_text(f"GREETING = {progress!r}\n")
    words = ("push", "flow.py", "-d", "staging", "--progress", progress)
    for rpc, fault in (
        ("GetLaunchPlan", answer(StatusCode.PERMISSION_DENIED, "not you")),
        ("CreateUploadLocation", answer(StatusCode.INTERNAL, "not now")),
        (PUT, lambda call: (400, "<Code>BadDigest</Code>")),
        ("CreateLaunchPlan", answer(StatusCode.PERMISSION_DENIED, "not you")),
    ):
        shop.double.faults.always(rpc, fault)
        done = shop(*words)
        shop.double.faults.clear()
        assert (done.code, done.out, len(errors(done))) == (1, "", 1), done.err
    assert shop(*words).code == 0


BUGS = {
    "in the answer of the registry": "import mfbuild.http.client as c; c._successful = None",
    "in the login at the registry": "import mfbuild.oci.auth as a; a.Credentials.basic = None",
    "in what a call means that failed": (
        "import mfbuild.flyte.admin.failures as f; f.CallFailure.error = None"
    ),
    "in the authorization of a call": (
        "import mfbuild.flyte.admin.authorization as a; a._KEY = None"
    ),
    "in the answer of the bucket": "import mfbuild.flyte.admin.upload as u; u._S3_CODE = None",
}


@pytest.mark.parametrize("where", BUGS)
def test_the_log_of_a_bug(shop: Shop, where: str) -> None:
    (shop.folder / "work/helper.py").write_text(f"GREETING = {where!r}\n")
    (shop.folder / "work/flow.py").write_text(
        FLOW.replace("SmallFlow", f"Flow{list(BUGS).index(where)}")
    )
    shop.double.faults.always(PUT, lambda call: (400, "<Code>BadDigest</Code>"))
    shop.double.faults.always("GetTask", answer(StatusCode.PERMISSION_DENIED))
    try:
        assert found(shop.broken(BUGS[where], "push", "flow.py", "-d", "staging")) == []
    finally:
        shop.double.faults.clear()


def errors(done: Done) -> list[str]:
    """The sentences of what went wrong."""
    lines = done.err.splitlines()
    return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
