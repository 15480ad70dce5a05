"""The way to a Flyte: TLS, endpoints that are none, tokens; and what is never shown."""

from __future__ import annotations

import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from mfbuild.errors import FlyteError, UsageError
from mfbuild.flyte.admin.client import Client
from mfbuild.flyte.admin.registrations import AdminRegistrations
from mfbuild.flyte.settings import COMMAND, Settings
from tests.cluster.handmade import DOMAIN, PROJECT
from tests.flyteadmin.double import Double, flyteadmin
from tests.flyteadmin.faults import answer, lie

TOKEN = "secret-token"
ROOT = Path(__file__).parent.parent.parent


@contextmanager
def running(tmp_path: Path, **options: Any) -> Iterator[Double]:
    with flyteadmin(tmp_path, projects=(PROJECT,), domains=(DOMAIN,), **options) as double:
        yield double


def settings(endpoint: str, **changes: Any) -> Settings:
    return replace(Settings(endpoint, "a test", insecure=True), **changes)


def projects(settings: Settings) -> list[str]:
    return sorted(AdminRegistrations(Client(settings, {}, lambda seconds: None)).projects())


def failure(settings: Settings) -> tuple[str, str | None]:
    with pytest.raises(FlyteError) as caught:
        projects(settings)
    [problem] = caught.value.problems
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "secret" not in f"{caught.value} {problem.hint}"
    return problem.message.replace(settings.endpoint, "HOST"), problem.hint


@pytest.fixture
def nobody() -> str:
    """An endpoint at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_nobody_listens(nobody: str) -> None:
    told = failure(settings(nobody))
    assert told == ("`HOST` cannot be reached: connection refused", "the endpoint is from a test")
    assert failure(settings(nobody, insecure=False)) == told


def test_a_host_that_is_not_there() -> None:
    message, hint = failure(settings("no-such-host.invalid"))
    assert message == "`HOST` cannot be reached: domain name not found"
    assert hint == "the endpoint is from a test"


def test_an_authority_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path, secure=True) as double:
        assert double.tls is not None
        authority = double.tls.authority
        known = settings(double.endpoint, insecure=False, ca_cert_file=authority)
        assert projects(known) == [PROJECT]
        unknown = settings(double.endpoint, insecure=False)
        message, hint = failure(unknown)
        assert message == (
            "`HOST` cannot be reached: "
            "certificate verify failed: unable to get local issuer certificate"
        )
        assert hint == "trust its authority with `admin.caCertFilePath` of flytekit's configuration"
        assert projects(replace(unknown, insecure_skip_verify=True)) == [PROJECT]


def test_no_tls_where_tls_is_expected(tmp_path: Path) -> None:
    with running(tmp_path) as double:
        message, hint = failure(settings(double.endpoint, insecure=False))
    assert message == "`HOST` cannot be reached: it does not speak TLS"
    assert hint == f"if it is not to, the endpoint is `http://{double.endpoint}`"


def test_tls_where_none_is_expected(tmp_path: Path) -> None:
    with running(tmp_path, secure=True) as double:
        message, hint = failure(settings(double.endpoint))
    assert message == "`HOST` cannot be reached: socket closed"
    assert hint == f"if it speaks TLS, the endpoint is `https://{double.endpoint}`"


def test_files_of_authorities(tmp_path: Path, nobody: str) -> None:
    with pytest.raises(UsageError) as caught:
        Client(settings(nobody, insecure=False, ca_cert_file=tmp_path / "gone"), {})
    assert str(caught.value) == (
        f"the certificates `{tmp_path / 'gone'}` cannot be read: no such file or directory"
    )
    with pytest.raises(FlyteError, match="shows no certificate: connection refused"):
        Client(settings(nobody, insecure=False, insecure_skip_verify=True), {})


def test_a_token_that_is_given(tmp_path: Path) -> None:
    with running(tmp_path, token=TOKEN) as double:
        known = settings(double.endpoint, token=TOKEN)
        assert projects(known) == [PROJECT]
        assert dict(double.calls) == {"GetPublicClientConfig": 1, "ListProjects": 1}
        double.authority.expire()
        assert failure(known) == (
            "`HOST` does not accept the token in `MFBUILD_FLYTE_TOKEN`",
            "give a new one, or none to log in by `Pkce`",
        )
        assert double.calls["ListProjects"] == 2


def sent(double: Double, patch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """What comes with each call as authorization."""
    seen: list[tuple[str, dict[str, str]]] = []

    def check(rpc: str, metadata: Any) -> None:
        seen.append((rpc, {key: value for key, value in metadata if "authorization" in key}))

    patch.setattr(double.authority, "check", check)
    return seen


def test_the_key_that_the_server_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(config: Any) -> None:
        config.authorization_metadata_key = "Flyte-Authorization"

    with running(tmp_path) as double:
        double.faults.always("GetPublicClientConfig", lie(name))
        seen = sent(double, monkeypatch)
        assert projects(settings(double.endpoint, token=TOKEN)) == [PROJECT]
    assert seen == [
        ("GetPublicClientConfig", {}),
        ("ListProjects", {"flyte-authorization": f"Bearer {TOKEN}"}),
    ]


def test_a_key_that_is_none(tmp_path: Path) -> None:
    def name(config: Any) -> None:
        config.authorization_metadata_key = "a b"

    with running(tmp_path) as double:
        double.faults.always("GetPublicClientConfig", lie(name))
        message, _ = failure(settings(double.endpoint, token=TOKEN))
    assert message == "`HOST` wants tokens under a key that is none"


def test_a_server_without_authorization(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as double:
        double.faults.always("GetPublicClientConfig", answer(StatusCode.UNIMPLEMENTED))
        seen = sent(double, monkeypatch)
        assert projects(settings(double.endpoint, token=TOKEN)) == [PROJECT]
    assert seen[-1] == ("ListProjects", {"authorization": f"Bearer {TOKEN}"})


def printing(tmp_path: Path, *texts: str) -> tuple[str, ...]:
    """A command that prints the next of `texts` each time, the last one over and over."""
    script = tmp_path / "token.py"
    script.write_text(
        "import pathlib, sys\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "number = len(count.read_text()) if count.exists() else 0\n"
        "count.write_text('x' * (number + 1))\n"
        "print(sys.argv[1:][min(number, len(sys.argv) - 2)])\n"
    )
    return (sys.executable, str(script), *texts)


def test_a_command_that_prints_the_token(tmp_path: Path) -> None:
    with running(tmp_path, token=TOKEN) as double:
        command = printing(tmp_path, "secret-old", TOKEN)
        known = settings(double.endpoint, login=COMMAND, command=command)
        client = Client(known, {}, lambda seconds: None)
        registrations = AdminRegistrations(client)
        for _ in range(3):
            assert sorted(registrations.projects()) == [PROJECT]
        assert (tmp_path / "count").read_text() == "xx"
        assert double.calls["ListProjects"] == 4
        double.authority.expire()
        with pytest.raises(FlyteError) as caught:
            registrations.projects()
    message = f"`{double.endpoint}` does not accept the token that `{sys.executable}` prints"
    assert str(caught.value) == message
    assert (tmp_path / "count").read_text() == "xxx"


def test_many_threads_renew_a_token_once(tmp_path: Path) -> None:
    with running(tmp_path, token=TOKEN) as double:
        command = printing(tmp_path, "secret-old", TOKEN)
        client = Client(settings(double.endpoint, login=COMMAND, command=command), {})
        registrations = AdminRegistrations(client)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda number: sorted(registrations.projects()), range(40)))
    assert found == [[PROJECT]] * 40
    assert (tmp_path / "count").read_text() == "xx"


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("exit(3)", "which prints the token, ended with 3", "run it to see why"),
        ("print('secret one')", "prints something that is not a token", None),
        ("print()", "prints something that is not a token", None),
        ("print('secr\u00e9t')", "prints something that is not a token", None),
    ],
)
def test_a_command_that_fails(
    nobody: str, code: str, message: str, hint: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    command = (sys.executable, "-c", f"import sys; sys.stderr.write('secret'); {code}")
    told = failure(settings(nobody, login=COMMAND, command=command))
    assert told[0].removeprefix(f"`{sys.executable}`").lstrip(", ") == message
    assert told[1] == hint
    assert "secret" not in "".join(capfd.readouterr())


def test_a_command_that_is_not_there(nobody: str) -> None:
    message, _ = failure(settings(nobody, login=COMMAND, command=("no-such-command", "secret")))
    assert message == "`no-such-command`, which prints the token, failed: no such file or directory"


def test_a_proxy_before_flyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as double:
        seen = sent(double, monkeypatch)
        command = printing(tmp_path, "for-proxy")
        known = settings(double.endpoint, token=TOKEN, proxy_command=command)
        assert projects(known) == [PROJECT]
    assert seen == [
        ("GetPublicClientConfig", {"proxy-authorization": "Bearer for-proxy"}),
        (
            "ListProjects",
            {"proxy-authorization": "Bearer for-proxy", "authorization": f"Bearer {TOKEN}"},
        ),
    ]


def test_a_login_without_flytekit(tmp_path: Path) -> None:
    with running(tmp_path, token=TOKEN) as double:
        known = settings(double.endpoint, login="ClientSecret", client_id="me", client_secret="s")
        message, hint = failure(known)
    assert message == "`HOST` wants a login by `ClientSecret`, which needs flytekit"
    assert hint is not None and hint.endswith("give a token in `MFBUILD_FLYTE_TOKEN`")
    assert ("pip install 'mfbuild[auth]'" in hint) is (sys.version_info < (3, 13))


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **env},
        timeout=60,
    )


CALL = """
import sys
from mfbuild.flyte.admin.backend import connect
from mfbuild.flyte.settings import Settings
backend = connect(Settings({endpoint!r}, "a test", insecure=True), {{}})
assert list(backend.registrations.projects()) == [{project!r}]
heavy = ("flytekit", "requests", "yaml", "metaflow", "mfbuild.flyte.compile", "mfbuild.flow.spec")
print([name for name in heavy if name in sys.modules])
"""


def test_a_process_ends_by_itself_and_has_imported_little(tmp_path: Path) -> None:
    with running(tmp_path) as double:
        done = run(CALL.format(endpoint=double.endpoint, project=PROJECT))
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)


def test_no_proxy_is_asked_for_the_loopback(tmp_path: Path, nobody: str) -> None:
    with running(tmp_path) as double:
        code = CALL.format(endpoint=double.endpoint, project=PROJECT)
        done = run(code, http_proxy=f"http://{nobody}", https_proxy=f"http://{nobody}")
    assert done.returncode == 0, done.stderr


class Tunnel(socketserver.StreamRequestHandler):
    """Takes CONNECT to any host, and leads to the double."""

    endpoint: tuple[str, int]
    asked: list[str]

    def handle(self) -> None:
        self.asked.append(self.rfile.readline().decode().strip())
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(self.endpoint) as onward:
            back = threading.Thread(target=self.pump, args=(onward, self.connection))
            back.start()
            self.pump(self.connection, onward)
            back.join()

    @staticmethod
    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def test_a_proxy_of_the_environment(tmp_path: Path) -> None:
    with running(tmp_path) as double:
        host, _, port = double.endpoint.rpartition(":")
        Tunnel.endpoint, Tunnel.asked = (host, int(port)), []
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as proxy:
            thread = threading.Thread(target=proxy.serve_forever)
            thread.start()
            code = CALL.format(endpoint="flyte.invalid:81", project=PROJECT)
            done = run(code, https_proxy=f"http://127.0.0.1:{proxy.server_address[1]}")
            proxy.shutdown()
            thread.join()
    assert done.returncode == 0, done.stderr
    assert [line.rpartition(" ")[0] for line in Tunnel.asked] == ["CONNECT flyte.invalid:81"]


def test_a_traceback_shows_no_token() -> None:
    code = """
from mfbuild.flyte.admin.backend import connect
from mfbuild.flyte.settings import Settings
settings = Settings("no-such-host.invalid", "a test", token="secret-" + "token")
connect(settings, {}).registrations.projects()
"""
    done = run(code)
    last = done.stderr.splitlines()[-1]
    assert last.endswith("`no-such-host.invalid` cannot be reached: domain name not found")
    assert "secret-token" not in done.stderr
    assert "debug_error_string" not in done.stderr
