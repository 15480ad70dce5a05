"""The registry client: digests, retries, redirects, logins; and a real registry."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from mfbuild.engine.model import Blob, Digest
from mfbuild.errors import FetchError, Interrupted
from mfbuild.oci.access import Registry
from mfbuild.oci.auth import Credentials
from mfbuild.oci.registry import Repository
from tests.registry import (
    PASSWORD,
    USER,
    Answer,
    Request,
    Script,
    Scripted,
    scripted,
)

DATA = bytes(range(256)) * 12_000
BLOB = Blob(Digest.of(DATA), len(DATA))
PATH = f"/v2/team/repo/blobs/{BLOB.digest}"


class Client:
    """A repository of a scripted registry, and how long its client waited."""

    def __init__(self, server: Scripted, credentials: Credentials | None = None) -> None:
        self.server = server
        self.waited: list[float] = []
        registry = Registry(server.host, {}, lambda host: credentials, self.waited.append)
        self.repository = Repository(registry, "team/repo")

    def download(self, path: Path, blob: Blob = BLOB) -> bytes:
        self.repository.download(blob, path, lambda n: None)
        return path.read_bytes()


@contextmanager
def client(script: Script, credentials: Credentials | None = None) -> Iterator[Client]:
    with scripted(script) as server:
        yield Client(server, credentials)


def blobs(request: Request) -> Answer:
    """A registry that has DATA, whole or from a byte on."""
    if request.path != PATH:
        return Answer(404)
    if given := request.headers.get("Range"):
        start = int(given.removeprefix("bytes=").removesuffix("-"))
        return Answer(206, DATA[start:], {"Content-Range": f"bytes {start}-/{len(DATA)}"})
    return Answer(200, DATA)


def test_a_blob_is_downloaded_and_counted(tmp_path: Path) -> None:
    ticks: list[int] = []
    with client(blobs) as found:
        found.repository.download(BLOB, tmp_path / "x", ticks.append)
    assert (tmp_path / "x").read_bytes() == DATA
    assert sum(ticks) == len(DATA)
    assert max(ticks) <= 1 << 20


def test_an_empty_blob(tmp_path: Path) -> None:
    with client(lambda r: Answer(200)) as found:
        assert found.download(tmp_path / "x", Blob(Digest.of(b""), 0)) == b""


def test_a_manifest_is_asked_for_by_its_media_types() -> None:
    with client(lambda r: Answer(200, b"{}")) as found:
        assert found.repository.manifest(Digest.of(b"{}")) == b"{}"
    [request] = found.server.seen
    assert request.path == f"/v2/team/repo/manifests/{Digest.of(b'{}')}"
    assert request.headers["Accept"].split(", ") == [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
    assert "Authorization" not in request.headers


def failure(script: Script, tmp_path: Path, credentials: Credentials | None = None) -> FetchError:
    with client(script, credentials) as found, pytest.raises(FetchError) as caught:
        found.download(tmp_path / "x")
    caught.value.args = (str(caught.value).replace(found.server.host, "HOST"),)
    return caught.value


def test_a_registry_that_lies_about_a_digest(tmp_path: Path) -> None:
    wrong = b"?" + DATA[1:]
    expected = f"`HOST/team/repo@{BLOB.digest}` is not what its digest promises"
    assert str(failure(lambda r: Answer(200, wrong), tmp_path)) == expected
    with client(lambda r: Answer(200, b"{ }")) as found, pytest.raises(FetchError):
        found.repository.manifest(Digest.of(b"{}"))


def test_a_blob_that_does_not_end(tmp_path: Path) -> None:
    error = failure(lambda r: Answer(200, DATA + b"more"), tmp_path)
    assert str(error) == f"a blob of `{len(DATA)}` bytes arrived with more"
    with (
        client(lambda r: Answer(200, bytes(5 << 20))) as found,
        pytest.raises(FetchError) as caught,
    ):
        found.repository.manifest(Digest.of(b"{}"))
    assert "is larger than `4194304` bytes" in str(caught.value)


def test_answers_that_are_final(tmp_path: Path) -> None:
    told = json.dumps({"errors": [{"code": "DENIED", "message": "no\x1b[31m quota"}]}).encode()
    answers = {
        404: f"`HOST` does not have `{PATH}`",
        403: f"`HOST` refuses access to `{PATH}`",
        405: f"`HOST` answered `405` for `{PATH}`: DENIED: no[31m quota",
    }
    for status, message in answers.items():
        assert str(failure(in_turn(Answer(status, told)), tmp_path)) == message
    assert str(failure(lambda r: Answer(405, b"?"), tmp_path)).endswith(f"`405` for `{PATH}`")


def in_turn(*scripts: Script | Answer) -> Script:
    """The first request is answered by the first script, and so on; the last one stays."""
    left = list(scripts)

    def answer(request: Request) -> Answer:
        now = left.pop(0) if len(left) > 1 else left[0]
        return now if isinstance(now, Answer) else now(request)

    return answer


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(tmp_path: Path, status: int) -> None:
    with client(in_turn(Answer(status), Answer(status), blobs)) as found:
        assert found.download(tmp_path / "x") == DATA
    assert len(found.server.seen) == 3
    assert 0 < sum(found.waited) < 4


def test_a_registry_says_how_long_to_wait(tmp_path: Path) -> None:
    busy = Answer(429, headers={"Retry-After": "7"})
    with client(in_turn(busy, blobs)) as found:
        assert found.download(tmp_path / "x") == DATA
    assert sum(found.waited) == 7
    rude = Answer(429, headers={"Retry-After": "86400"})
    with client(in_turn(rude, blobs)) as found:
        assert found.download(tmp_path / "x") == DATA
    assert sum(found.waited) == 60


def test_what_does_not_pass_ends(tmp_path: Path) -> None:
    error = failure(lambda r: Answer(503), tmp_path)
    assert str(error) == f"`HOST{PATH}`: the registry answered `503`, 5 times"


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    with client(blobs) as found:
        pass
    with pytest.raises(FetchError) as caught:
        found.download(tmp_path / "x")
    assert str(caught.value).endswith(
        "the registry could not be reached, or broke the connection, 5 times: connection refused"
    )


def test_a_cut_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    with client(in_turn(Answer(200, DATA, cut=2_000_000), blobs)) as found:
        assert found.download(tmp_path / "x") == DATA
    first, second = found.server.seen
    assert "Range" not in first.headers
    done = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < done <= 2_000_000


def test_a_cut_download_starts_anew_where_ranges_are_unknown(tmp_path: Path) -> None:
    with client(in_turn(Answer(200, DATA, cut=2_000_000), Answer(200, DATA))) as found:
        assert found.download(tmp_path / "x") == DATA
    assert len(found.server.seen) == 2


def test_a_document_that_is_cut_is_asked_for_again() -> None:
    with client(in_turn(Answer(200, b"{}", cut=1), Answer(200, b"{}"))) as found:
        assert found.repository.blob(Digest.of(b"{}")) == b"{}"


def test_waiting_ends_when_the_build_is_cancelled(tmp_path: Path) -> None:
    def tick(count: int) -> None:
        raise Interrupted("stopped")

    with client(lambda r: Answer(503)) as found, pytest.raises(Interrupted):
        found.repository.download(BLOB, tmp_path / "x", tick)
    assert len(found.server.seen) == 1


def test_a_redirect_to_another_host_does_not_get_the_credentials(tmp_path: Path) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(scripted(lambda r: Answer(200, DATA)))
        moved = Answer(307, headers={"Location": f"http://{other.host}/storage?signature=1"})
        script = in_turn(Answer(401, headers={"WWW-Authenticate": "Basic"}), moved)
        found = stack.enter_context(client(script, Credentials(USER, PASSWORD)))
        assert found.download(tmp_path / "x") == DATA
    assert "Authorization" in found.server.seen[1].headers
    [request] = other.seen
    assert request.path == "/storage?signature=1"
    assert "Authorization" not in request.headers
    assert "Cookie" not in request.headers


def test_a_redirect_on_the_same_host_keeps_them(tmp_path: Path) -> None:
    moved = Answer(307, headers={"Location": "/elsewhere"})
    asked = Answer(401, headers={"WWW-Authenticate": "Basic"})
    with client(in_turn(asked, moved, Answer(200, DATA)), Credentials(USER, PASSWORD)) as found:
        assert found.download(tmp_path / "x") == DATA
    assert "Authorization" in found.server.seen[2].headers


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("ftp://other.example.com/x", "`HOST` redirects to an address that is not https"),
        ("/again", "`HOST` redirects more than 10 times"),
    ],
)
def test_redirects_that_are_not_followed(tmp_path: Path, location: str, message: str) -> None:
    answer = Answer(302, headers={"Location": location})
    assert str(failure(lambda r: answer, tmp_path)) == message


def test_the_signature_of_a_redirect_is_not_shown(tmp_path: Path) -> None:
    with scripted(blobs) as gone:
        pass
    moved = Answer(307, headers={"Location": f"http://{gone.host}/x?signature=secret"})
    error = failure(lambda r: moved, tmp_path)
    assert "secret" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None


def tokens(request: Request, *, token: str = "t-1") -> Answer:
    """A registry that wants a bearer token, and gives it out itself under /token."""
    if request.path.startswith("/token"):
        return Answer(200, json.dumps({"token": token}).encode())
    if request.headers.get("Authorization") == f"Bearer {token}":
        return blobs(request)
    realm = f"http://{request.headers['Host']}/token?x=y"
    return Answer(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s v"'})


@pytest.mark.parametrize("known", [None, Credentials(USER, PASSWORD)])
def test_the_bearer_flow(tmp_path: Path, known: Credentials | None) -> None:
    with client(tokens, known) as found:
        assert found.download(tmp_path / "x") == DATA
        assert found.download(tmp_path / "x") == DATA
    asked = found.server.seen[1]
    assert parse_qs(urlsplit(asked.path).query) == {
        "x": ["y"],
        "service": ["s v"],
        "scope": ["repository:team/repo:pull"],
    }
    basic = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
    assert asked.headers.get("Authorization") == (basic if known else None)
    assert len(found.server.seen) == 4, "the token is used again"


def test_an_identity_token_is_posted(tmp_path: Path) -> None:
    with client(tokens, Credentials("", "", "identity")) as found:
        assert found.download(tmp_path / "x") == DATA
    asked = found.server.seen[1]
    assert (asked.method, asked.path) == ("POST", "/token?x=y")
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["mfbuild"],
        "refresh_token": ["identity"],
        "service": ["s v"],
        "scope": ["repository:team/repo:pull"],
    }
    assert "Authorization" not in asked.headers


def test_an_expired_token_is_renewed(tmp_path: Path) -> None:
    with client(tokens) as found:
        found.download(tmp_path / "x")
        found.server.script = lambda request: tokens(request, token="t-2")
        assert found.download(tmp_path / "x") == DATA


REFUSALS: list[tuple[Script, str]] = [
    (lambda r: Answer(401), f"`HOST` refuses access to `{PATH}`"),
    (
        lambda r: Answer(401, headers={"WWW-Authenticate": "Basic"}),
        f"`HOST` refuses access to `{PATH}`",
    ),
    (
        lambda r: Answer(401) if r.path.startswith("/token") else tokens(r),
        f"`HOST` refuses access to `{PATH}`",
    ),
    (
        lambda r: Answer(200, b"[]") if r.path.startswith("/token") else tokens(r),
        "`HOST` has a token server without tokens",
    ),
    (
        lambda r: Answer(503) if r.path.startswith("/token") else tokens(r),
        f"`HOST{PATH}`: the registry has a token server that answered `503`, 5 times",
    ),
    (
        lambda r: Answer(
            401, headers={"WWW-Authenticate": 'Bearer realm="http://auth.example.com/t"'}
        ),
        "`HOST` names a token server that is not https: `http://auth.example.com/t`",
    ),
]


@pytest.mark.parametrize(("script", "message"), REFUSALS)
def test_logins_that_fail_say_so_without_secrets(
    tmp_path: Path, script: Script, message: str
) -> None:
    error = failure(script, tmp_path, Credentials(USER, PASSWORD))
    assert str(error) == message
    assert not any(PASSWORD in str(problem) for problem in error.problems)


def test_netrc_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("default login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with client(blobs) as found:
        found.download(tmp_path / "x")
    assert "Authorization" not in found.server.seen[0].headers


def test_other_hosts_are_spoken_to_by_tls_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(lambda r: Answer(403)) as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        registry = Registry("registry.example.com", {}, lambda host: None, lambda seconds: None)
        with pytest.raises(FetchError, match="could not be reached"):
            Repository(registry, "team/repo").manifest(BLOB.digest)
        with client(blobs) as found:
            assert found.download(tmp_path / "x") == DATA, "this machine needs no proxy"
    assert {(r.method, r.path) for r in proxy.seen} == {("CONNECT", "registry.example.com:443")}
