"""The client against real servers: what it sends, what answers mean, and when it asks again."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest

from mfbuild.errors import UsageError
from mfbuild.http.addresses import Login, basic, login_in, netrc_login
from mfbuild.http.client import PASSING
from mfbuild.http.errors import CertificateError, Passing, RequestError, StatusError
from tests.http.serving import Client, nothing
from tests.registry import Answer, Script, certificate, docker_registry, scripted


def get(script: Script, path: str = "/") -> bytes:
    with scripted(script) as server, Client().open("GET", f"http://{server.host}{path}") as found:
        return found.read(1 << 20)


def test_what_every_request_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No login but the one that is given: neither of ~/.netrc nor of the address."""
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with scripted(lambda r: Answer(200, headers={"Set-Cookie": "a=b; Path=/"})) as server:
        client = Client()
        for _ in range(2):
            client.open("GET", f"http://you:word@{server.host}/x").close()
    for request in server.seen:
        assert request.headers["User-Agent"] == "mfbuild"
        assert request.headers["Accept-Encoding"] == "identity"
        assert not {"Authorization", "Cookie"} & request.headers.keys()


def test_content_is_taken_as_it_is_sent() -> None:
    told = {"Content-Encoding": "gzip", "Content-Type": "text/html; charset=utf-16"}
    assert get(lambda r: Answer(200, b"not gzip", told)) == b"not gzip"


def test_a_long_answer_is_read_as_far_as_asked() -> None:
    with scripted(lambda r: Answer(200, bytes(1 << 20))) as server:
        client = Client()
        with client.open("GET", f"http://{server.host}/") as found:
            assert found.read(1000) == bytes(1000)
        with client.open("GET", f"http://{server.host}/") as found:
            assert len(found.read(2 << 20)) == 1 << 20


def test_connections_are_kept() -> None:
    answers = {"/ok": Answer(200, b"x"), "/no": Answer(404, b"y"), "/busy": Answer(503, b"z")}
    with scripted(lambda r: answers[r.path]) as server:
        client = Client()
        for path in ("/ok", "/no", "/busy") * 2:
            try:
                with client.open("GET", f"http://{server.host}{path}"):
                    pass
            except (StatusError, Passing):
                pass
    assert len(server.seen) == 6
    assert len(server.connections) == 1


@pytest.mark.parametrize("status", [201, 204, 206])
def test_success(status: int) -> None:
    with (
        scripted(lambda r: Answer(status)) as server,
        Client().open("GET", f"http://{server.host}/x") as found,
    ):
        assert (found.status, found.host) == (status, server.host)


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 416, 501])
def test_an_answer_that_is_final(status: int) -> None:
    told = Answer(status, b"words", {"WWW-Authenticate": "Basic"})
    with scripted(lambda r: told) as server, pytest.raises(StatusError) as caught:
        client = Client()
        client.persist(lambda: client.open("GET", f"http://{server.host}/x"), nothing)
    error = caught.value
    assert (error.status, error.headers["www-authenticate"]) == (status, "Basic")
    assert error.body == (b"" if status == 304 else b"words")
    assert error.url == f"http://{server.host}/x"
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", PASSING)
def test_an_answer_that_may_pass(status: int) -> None:
    left = [Answer(status, b"words")] * 2
    with scripted(lambda r: left.pop() if left else Answer(200, b"x")) as server:
        client = Client()
        found = client.persist(lambda: client.open("GET", f"http://{server.host}/"), nothing)
        with found:
            assert found.read(9) == b"x"
    assert len(server.seen) == 3
    assert 0.25 + 0.5 <= sum(client.waited) <= 0.75 + 1.5


NOW = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "99999999"}, 99999999.0),
        ({"Retry-After": format_datetime(NOW + timedelta(seconds=9), usegmt=True)}, 9.0),
        ({"Retry-After": format_datetime(NOW - timedelta(days=9), usegmt=True)}, 0.0),
        ({"Retry-After": "Thu, 29 Feb 2024 12:00:05 -0000"}, 5.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "Thu, 99 Feb 2024 12:00:05 GMT"}, 0.0),
        ({}, 0.0),
    ],
)
def test_how_long_a_server_wants_us_to_wait(headers: dict[str, str], seconds: float) -> None:
    """A date is by the server's own clock, which may be another one than ours."""
    told = {**headers, "Date": format_datetime(NOW, usegmt=True)}
    with scripted(lambda r: Answer(429, headers=told)) as server, pytest.raises(Passing) as caught:
        Client().open("GET", f"http://{server.host}/")
    assert caught.value.after == seconds
    assert isinstance(caught.value.__cause__, StatusError)


def test_a_date_without_the_servers_clock_is_by_ours() -> None:
    later = datetime.now(timezone.utc) + timedelta(seconds=1000)
    told = {"Retry-After": format_datetime(later, usegmt=True), "Date": "yesterday"}
    with scripted(lambda r: Answer(503, headers=told)) as server, pytest.raises(Passing) as caught:
        Client().open("GET", f"http://{server.host}/")
    assert 900 < caught.value.after <= 1000


def test_a_server_that_is_not_there() -> None:
    with scripted(lambda r: Answer()) as server:
        pass
    with pytest.raises(Passing) as caught:
        Client().open("GET", f"http://{server.host}/secret?token=t")
    assert str(caught.value) == (
        "could not be reached, or broke the connection: connection refused"
    )
    assert caught.value.__suppress_context__, "what is below it shows the address"


def test_a_connection_that_breaks() -> None:
    with pytest.raises(Passing, match="could not be reached, or broke the connection"):
        get(lambda r: Answer(200, b"0123456789", cut=5))


def test_content_is_sent_each_time_anew() -> None:
    left = [Answer(503), Answer(307, headers={"Location": "/there"})]
    with scripted(lambda r: left.pop(0) if left else Answer(201)) as server:
        client, body = Client(), [b"one", b"two"]

        class Body:
            def __len__(self) -> int:
                return 6

            def __iter__(self) -> object:
                return iter(body)

        url = f"http://{server.host}/"
        client.persist(lambda: client.open("PUT", url, body=Body()), nothing).close()  # type: ignore[arg-type]
    assert [(r.method, r.path, r.body) for r in server.seen] == [
        ("PUT", "/", b"onetwo"),
        ("PUT", "/", b"onetwo"),
        ("PUT", "/there", b"onetwo"),
    ]


def test_the_login_of_an_address() -> None:
    assert login_in("https://one.example/x") is None
    found = login_in("https://m%40e:p%2Fw@one.example/x")
    assert found == Login("https://m%40e:p%2Fw@one.example/x", basic("m@e", "p/w"))
    assert base64.b64decode(found.value.removeprefix("Basic ")) == b"m@e:p/w"
    assert "Basic" not in repr(found)


def test_the_login_of_a_netrc(tmp_path: Path) -> None:
    path = tmp_path / ".netrc"
    path.write_text("machine one.example login me password secret\n")
    for environ in ({"HOME": str(tmp_path)}, {"HOME": "/", "NETRC": str(path)}):
        assert netrc_login(environ, "https://one.example:8443/x") == ("me", "secret")
        assert netrc_login(environ, "https://two.example/x") is None
    path.write_bytes(b"machine \xff\xfe login")
    assert netrc_login({"HOME": str(tmp_path)}, "https://one.example/x") is None
    assert netrc_login({"HOME": "/nowhere"}, "https://one.example/x") is None


@pytest.mark.tools
def test_certificates(tmp_path: Path) -> None:
    made = certificate(tmp_path / "tls", "127.0.0.2")
    with docker_registry(tmp_path / "registry", tls=made) as host:
        url = f"https://{host}/v2/"
        for environ in ({}, {"SSL_CERT_FILE": str(made.certificate)}):
            with pytest.raises(CertificateError) as caught:
                Client(environ).open("GET", url)
            assert "REQUESTS_CA_BUNDLE" in str(caught.value.hint)
        Client({"SSL_CERT_FILE": str(made.authority)}).open("GET", url).close()
        with pytest.raises(UsageError, match="`CURL_CA_BUNDLE` names"):
            Client({"CURL_CA_BUNDLE": "/missing.pem"}).open("GET", url)


def test_a_handshake_that_breaks_may_pass() -> None:
    with scripted(lambda r: Answer()) as server, pytest.raises((Passing, RequestError)) as caught:
        Client().open("GET", f"https://{server.host}/")
    assert not isinstance(caught.value, UsageError)


def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(scripted(lambda r: Answer(200, b"by proxy")))
        server = stack.enter_context(scripted(lambda r: Answer(200, b"direct")))
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        client = Client()
        with client.open("GET", f"http://{server.host}/") as found:
            assert found.read(9) == b"direct"
        with client.open("GET", "http://mirror.example.com/x") as found:
            assert found.read(9) == b"by proxy"
        monkeypatch.setenv("no_proxy", "example.com")
        with pytest.raises(Passing):
            client.open("GET", "http://mirror.example.invalid.example.com/x")
    [asked] = proxy.seen
    assert asked.path == "http://mirror.example.com/x"
