"""Redirects: where they are followed to, and who hears a secret."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from mfbuild.errors import FetchError
from mfbuild.http.addresses import Login, basic
from mfbuild.http.client import REDIRECTS
from mfbuild.http.errors import Passing, RequestError, StatusError
from tests.http.serving import Client
from tests.registry import Answer, Request, Scripted, scripted

SECRET = basic("me", "secret")
HOME = "https://registry.example.com"


class Chain(HTTPAdapter):
    """Answers instead of any server: with one redirect after the other, then with 200."""

    def __init__(self, locations: Sequence[str]) -> None:
        super().__init__()
        self.locations = list(locations)
        self.asked: list[tuple[str, bool]] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> Any:
        place, _ = self.build_connection_pool_key_attributes(request, True)
        where = f"{place['scheme']}://{place['host']}:{place['port']}"
        self.asked.append((where, "Authorization" in request.headers))
        response = requests.Response()
        response.request, response.url = request, request.url or ""
        response.status_code = 307 if self.locations else 200
        if self.locations:
            response.headers["Location"] = self.locations.pop(0)
        response.raw = HTTPResponse(io.BytesIO(), preload_content=False)
        return response


def locations() -> Iterator[st.SearchStrategy[str]]:
    host = st.sampled_from(["registry.example.com", "evil.example.com", "localhost", ""])
    sign = st.sampled_from(
        ["/", "//", "\\", "@", ":", "?", "#", ".", "https:", "http:", "%5C", " ", "[", ":8443"]
    )
    latin = st.characters(max_codepoint=255)
    yield st.lists(host | sign | latin, max_size=9).map("".join)
    yield st.text(latin, max_size=40)
    origin = st.sampled_from([HOME, "https://evil.example.com", "http://registry.example.com"])
    port = st.sampled_from(["", ":443", ":80", ":8443", ":0"])
    yield st.tuples(origin, port, st.sampled_from(["", "/", "/x?y"])).map("".join)


def asked(chain: Sequence[str], start: str = f"{HOME}/v2/") -> list[tuple[str, bool]]:
    """Who was asked, as scheme, host and port, and whether he heard the secret."""
    client, adapter = Client(), Chain(chain)
    client._adapter = adapter
    with suppress(FetchError, Passing):
        client.open("GET", start, login=Login(HOME, SECRET)).close()
    return adapter.asked


@given(st.lists(st.one_of(*locations()), max_size=6))
@example(["https://evil.example.com\\@registry.example.com/"])
@example(["https://registry.example.com\\@evil.example.com/"])
@example(["https://evil.example.com/", "https://registry.example.com:443/v2/"])
@example(["//evil.example.com/"])
@example(["http://registry.example.com/"])
@example(["https://registry.example.com:8443/", "/v2/"])
def test_wherever_redirects_lead_only_its_origin_hears_the_secret(chain: list[str]) -> None:
    home = {f"{HOME}:443", f"{HOME}:None"}
    seen = asked(chain)
    assert seen[0][1]
    assert {where for where, secret in seen if secret} <= home
    assert all(where.startswith("https://") for where, _ in seen), "never from https to http"


@given(st.one_of(*locations()))
@example("https://evil.example.com\\@registry.example.com/")
@example("https://registry.example.com@evil.example.com/")
def test_an_address_that_looks_like_another_hears_nothing(start: str) -> None:
    home = {f"{HOME}:443", f"{HOME}:None"}
    assert {where for where, secret in asked([], start) if secret} <= home


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_a_chain_over_real_servers(hops: list[int]) -> None:
    """Two ports of one host, and each by another name of it."""
    left: list[str] = []

    def redirect(request: Request) -> Answer:
        return Answer(307, headers={"Location": left.pop(0)}) if left else Answer(200)

    with ExitStack() as stack:
        one, two = (stack.enter_context(scripted(redirect)) for _ in range(2))
        names = [s.host.replace("127.0.0.1", n) for s in (one, two) for n in NAMES]
        left += [f"http://{names[hop]}/" for hop in hops]
        client, home = Client(), f"http://{one.host}"
        client.open("GET", f"{home}/", login=Login(home, SECRET)).close()
    heard = [secret(request) for request in (*one.seen, *two.seen)]
    assert sum(heard) == 1 + hops.count(0)
    assert all(secret(r) == (r.headers["Host"] == one.host) for r in (*one.seen, *two.seen))


NAMES = ("127.0.0.1", "localhost")


def secret(request: Request) -> bool:
    return request.headers.get("Authorization") == SECRET


def error(server: Scripted) -> RequestError:
    with pytest.raises(RequestError) as caught:
        Client().open("GET", f"http://{server.host}/")
    return caught.value


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("ftp://other.example.com/x", "redirects to an address that is not https"),
        ("/again", f"redirects more than {REDIRECTS} times"),
    ],
)
def test_redirects_that_are_not_followed(location: str, reason: str) -> None:
    with scripted(lambda r: Answer(302, headers={"Location": location})) as server:
        assert error(server).reason == reason
    assert len(server.seen) <= REDIRECTS + 1


ODD = [
    *(
        "",
        "//",
        "///",
        "http:",
        "https:",
        "http://",
        "http://[",
        "http://[::1",
        "http://]",
        "http://:80/",
    ),
    *(
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:x/",
        "//127.0.0.1:99999",
    ),
    *(
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:,x",
        "mailto:a@b.invalid",
        "ftp://[",
        "x://[:",
    ),
    *(
        "http://.invalid/",
        "http://a..invalid/",
        "http://a b.invalid/",
        f"http://{'a' * 64}.invalid/",
    ),
    *(
        "http://\u00e9\u00ff:99999/",
        "http://xn--\u00ff.invalid:99999/",
        "http://\u00ad/",
        "http://%zz:1x/",
    ),
]


@pytest.mark.parametrize("location", ODD)
def test_odd_addresses_are_errors_of_the_server(location: str) -> None:
    with scripted(lambda r: Answer(302, headers={"Location": location})) as server:
        told = error(server)
    assert told.exit_code == 1
    assert told.reason.startswith(("redirects ", "gives an address ", "cannot be asked: "))
    if not location:
        assert told.reason == "redirects to no address"


@pytest.mark.parametrize("address", [odd for odd in ODD if odd[:2] != "//"])
def test_odd_addresses_to_begin_with(address: str) -> None:
    with pytest.raises(RequestError, match="cannot be asked: "):
        Client().open("GET", address, login=Login(HOME, SECRET))


def test_a_redirect_in_utf_8() -> None:
    """As browsers take it, although RFC 9110 allows ASCII alone."""
    moved = Answer(302, headers={"Location": "/caf\u00e9".encode().decode("latin-1")})
    with scripted(lambda r: moved if r.path == "/" else Answer(200)) as server:
        Client().open("GET", f"http://{server.host}/").close()
    assert [request.path for request in server.seen] == ["/", "/caf%C3%A9"]


def test_as_many_redirects_as_are_allowed() -> None:
    def count(request: Request) -> Answer:
        number = int(request.path[1:])
        moved = Answer(302, headers={"Location": f"/{number + 1}"})
        return Answer(200) if number == REDIRECTS else moved

    with scripted(count) as server:
        Client().open("GET", f"http://{server.host}/0").close()
    assert len(server.seen) == REDIRECTS + 1


def test_a_redirect_that_is_an_answer() -> None:
    with scripted(lambda r: Answer(307, headers={"Location": "/x"})) as server:
        with pytest.raises(StatusError) as caught:
            Client().open("PUT", f"http://{server.host}/", body=b"secret", follow=False)
        assert caught.value.status == 307
    assert [request.path for request in server.seen] == ["/"]
