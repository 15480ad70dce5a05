"""Logins by flytekit, in an environment of its own: the double wants a token for every call."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from grpc import StatusCode

from tests.cluster.build import CACHE
from tests.cluster.handmade import DOMAIN, PROJECT
from tests.flyteadmin.auth import CLIENT, SECRET
from tests.flyteadmin.double import Double, flyteadmin
from tests.flyteadmin.faults import answer

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="flytekit takes Python 3.12 at most"),
]
ROOT = Path(__file__).parent.parent.parent
FLYTEKIT = ("flytekit==1.16.31", "setuptools<82")
TOKEN = "secret-token"


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of an environment with flytekit, which is made once."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / f"{FLYTEKIT[0]}-{version}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = Path(scratch) / "venv"
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
            install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python")
            subprocess.run([*install, made / "bin/python", *FLYTEKIT], check=True)
            made.rename(folder)
    return folder / "bin/python"


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Double]:
    with flyteadmin(tmp_path, projects=(PROJECT,), domains=(DOMAIN,), token=TOKEN) as running:
        yield running


KEYRING = """
from keyring.backend import KeyringBackend

class Kept(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        return {tokens!r}.get((service, username))
    def set_password(self, service, username, password):
        raise AssertionError("nothing is kept here")
    def delete_password(self, service, username):
        raise AssertionError("nothing is kept here")
"""
LISTS = """
import os, sys
from pathlib import Path
from mfbuild.errors import MfbuildError
from mfbuild.flyte.admin.backend import connect
from mfbuild.flyte.settings import find_settings

settings = find_settings(None, os.environ, Path.cwd())
registrations = connect(settings, os.environ).registrations
for line in sys.stdin:
    try:
        print(list(registrations.projects()), "flytekit" in sys.modules, flush=True)
    except MfbuildError as error:
        print(f"{error.problems[0].message} ({error.problems[0].hint})", flush=True)
assert sys.excepthook is sys.__excepthook__
"""


class Session:
    """A process that lists the projects whenever it is asked to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


Start = Callable[[Mapping[str, str]], Session]


@pytest.fixture
def start(python: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a session with variables of its own; it must end well, with nothing more to say."""
    usual = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    with ExitStack() as stack:

        def started(env: Mapping[str, str]) -> Session:
            process = subprocess.Popen(
                [python, "-c", LISTS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=usual | paths | dict(env),
            )
            stack.callback(ends_well, process)
            return Session(process)

        yield started


def ends_well(process: subprocess.Popen[str]) -> None:
    try:
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def by_secret(double: Double, secret: str) -> dict[str, str]:
    return {
        "FLYTE_PLATFORM_URL": f"http://{double.endpoint}",
        "FLYTE_CREDENTIALS_AUTH_MODE": "client_credentials",
        "FLYTE_CREDENTIALS_CLIENT_ID": CLIENT,
        "FLYTE_CREDENTIALS_CLIENT_SECRET": secret,
    }


def test_by_a_clients_secret(start: Start, double: Double) -> None:
    session = start(by_secret(double, SECRET))
    assert session.ask() == f"['{PROJECT}'] True"
    assert session.ask() == f"['{PROJECT}'] True"
    assert double.authority.issued == 1
    double.authority.expire()
    assert session.ask() == f"['{PROJECT}'] True"
    assert double.authority.issued == 2
    assert dict(double.calls) == {
        "GetPublicClientConfig": 1,
        "GetOAuth2Metadata": 1,
        "ListProjects": 5,
    }


def test_by_a_secret_in_a_file(start: Start, double: Double, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    by_file = {"FLYTE_CREDENTIALS_CLIENT_SECRET_LOCATION": str(tmp_path / "secret")}
    session = start(by_secret(double, "") | by_file)
    assert session.ask() == f"['{PROJECT}'] True"


def test_a_secret_that_is_wrong(start: Start, double: Double) -> None:
    session = start(by_secret(double, "secret-wrong"))
    said = session.ask()
    name = f"`{double.endpoint}`"
    assert said == f"logging in at {name} by `ClientSecret` failed: `invalid_client` (None)"


def test_no_secret_at_all(start: Start, double: Double) -> None:
    session = start(by_secret(double, ""))
    assert session.ask().startswith(
        f"a login at `{double.endpoint}` by `ClientSecret` wants both id and secret (set "
    )


def test_a_token_that_is_never_accepted(start: Start, double: Double) -> None:
    double.faults.always("ListProjects", answer(StatusCode.UNAUTHENTICATED))
    said = start(by_secret(double, SECRET)).ask()
    assert double.authority.issued == 2
    assert said == (
        f"`{double.endpoint}` does not accept the login by `ClientSecret` "
        "(or give a token in `MFBUILD_FLYTE_TOKEN`)"
    )


def by_browser(double: Double, folder: Path) -> dict[str, str]:
    kept = {(double.endpoint, "access_token"): TOKEN}
    (folder / "kept.py").write_text(KEYRING.format(tokens=kept))
    return {
        "FLYTE_PLATFORM_URL": f"http://{double.endpoint}",
        "PYTHON_KEYRING_BACKEND": "kept.Kept",
    }


def test_what_pyflyte_keeps_of_a_login_is_used(
    start: Start, double: Double, tmp_path: Path
) -> None:
    session = start(by_browser(double, tmp_path))
    assert session.ask() == f"['{PROJECT}'] True"
    double.authority.expire()
    assert session.ask() == (
        f"`{double.endpoint}` wants a login in a browser, and nobody is there "
        "(log in at a terminal, or give a token in `MFBUILD_FLYTE_TOKEN`)"
    )


def test_a_way_that_flytekit_does_not_know(start: Start, double: Double) -> None:
    session = start(by_secret(double, SECRET) | {"FLYTE_CREDENTIALS_AUTH_MODE": "telepathy"})
    name = f"`{double.endpoint}`"
    assert session.ask() == f"logging in at {name} by `telepathy` failed: ValueError (None)"
