"""Who may push: TLS, logins and tokens of a real registry, and credentials that stay at home."""

from __future__ import annotations

import base64
import json
import os
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from mfbuild.errors import FetchError, PushError
from mfbuild.oci.access import Registry
from mfbuild.oci.auth import Credentials
from mfbuild.oci.registry import Repository
from tests.proxy import Fault, Seen, proxied
from tests.pushes import Pushable, pushable, repository
from tests.registry import (
    PASSWORD,
    USER,
    Answer,
    Request,
    certificate,
    docker_registry,
    scripted,
)
from tests.tokens import IDENTITY, token_server

ME = Credentials(USER, PASSWORD)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Pushable:
    return pushable(tmp_path_factory.mktemp("image"), 100_000)


@pytest.mark.tools
def test_a_login_as_docker_keeps_it(
    image: Pushable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with docker_registry(tmp_path / "registry", login=True) as host:
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        mine = Repository(Registry(host, os.environ), "team/repo")
        assert image.push(mine)
        image.check(mine)
        for stranger in (None, Credentials(USER, "wrong-secret")):
            with pytest.raises(PushError) as caught:
                image.push(repository(host, known=stranger), tag="w")
            [problem] = caught.value.problems
            assert problem.message == f"`{host}` does not let you push to `team/repo`"
            hint = f"log in as somebody who may, for example with `docker login {host}`"
            assert problem.hint == hint
            assert "wrong-secret" not in repr(caught.value)


@pytest.mark.tools
def test_tls_with_an_authority_of_ones_own(
    image: Pushable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = certificate(tmp_path / "tls", "127.0.0.2")
    with docker_registry(tmp_path / "registry", tls=made) as host:
        for trusted in (None, made.certificate):
            if trusted:
                monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
            with pytest.raises(PushError) as caught:
                image.push(repository(host))
            [problem] = caught.value.problems
            assert problem.message == f"the TLS certificate of `{host}` is not accepted"
            assert problem.hint is not None
            assert "REQUESTS_CA_BUNDLE" in problem.hint
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.authority))
        assert image.push(repository(host))
        image.check(repository(host))


@pytest.mark.tools
@pytest.mark.parametrize("known", [ME, Credentials("", "", IDENTITY)], ids=["password", "identity"])
def test_tokens(image: Pushable, tmp_path: Path, known: Credentials) -> None:
    rights = {"team/repo": "pull,push", "team/prod": "pull,push", "team/read": "pull"}
    with (
        token_server(tmp_path / "tokens", rights) as tokens,
        docker_registry(tmp_path / "registry", auth=tokens.auth) as host,
    ):
        assert image.push(repository(host, known=known))
        image.check(repository(host, known=known))
        [pushing, reading] = [" ".join(scopes) for scopes in tokens.scopes()]
        assert (pushing, reading) == ("repository:team/repo:pull,push", "repository:team/repo:pull")
        prod = repository(host, "team/prod", known)
        assert image.push(prod, mount=("team/secret", "team/repo"))
        image.check(prod)
        mounting = ["repository:team/prod:pull,push", "repository:team/repo:pull"]
        assert sorted(" ".join(tokens.scopes()[5]).split()) == mounting
        for denied in ("team/read", "team/nothing"):
            with pytest.raises(PushError) as caught:
                image.push(repository(host, denied, known))
            assert f"`{host}` does not let you push to `{denied}`" in str(caught.value)
            assert len(caught.value.problems) == 1
        with pytest.raises(PushError, match="does not let you push"):
            image.push(repository(host, known=Credentials(USER, "wrong")))


@pytest.mark.tools
@pytest.mark.parametrize("kind", ["HEAD blob", "POST upload", "PUT upload", "PUT manifest"])
def test_a_token_that_expires_in_the_middle(image: Pushable, tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        rights = {"team/repo": "pull,push"}
        tokens = stack.enter_context(token_server(tmp_path / "tokens", rights))
        host = stack.enter_context(docker_registry(tmp_path / "registry", auth=tokens.auth))
        challenge = requests.get(f"http://{host}/v2/").headers["WWW-Authenticate"]
        expired = Fault(answer=Answer(401, headers={"WWW-Authenticate": challenge}))

        def rule(seen: Seen) -> Fault | None:
            return expired if seen.kind == kind and seen.number == 0 else None

        proxy = stack.enter_context(proxied(host, rule))
        mine = repository(proxy.host, known=ME)
        assert image.push(mine)
        assert len(tokens.server.seen) == 2
        image.check(mine)


@pytest.mark.tools
def test_a_copy_that_may_not_be_read_is_not_called_a_push(image: Pushable, tmp_path: Path) -> None:
    with ExitStack() as stack:
        closed = stack.enter_context(docker_registry(tmp_path / "closed", login=True))
        open_ = stack.enter_context(docker_registry(tmp_path / "open"))
        image.push(repository(closed, known=ME))
        origin = repository(closed)
        stranger = Pushable(origin, image.root, image.layer)  # type: ignore[arg-type]
        with pytest.raises(PushError) as caught:
            stranger.push(repository(open_))
        path = f"/v2/team/repo/manifests/{image.root.digest}"
        assert str(caught.value) == f"`{closed}` refuses access to `{path}`"


CHALLENGE = {"WWW-Authenticate": "Basic realm=x"}


def lacking(request: Request) -> Answer:
    """A registry that wants a login, and has nothing; uploads go to where `upload` says."""
    if "Authorization" not in request.headers:
        return Answer(401, headers=CHALLENGE)
    return Answer(404)


@pytest.mark.parametrize("way", ["location", "redirect"])
def test_uploads_that_go_elsewhere_go_without_credentials(image: Pushable, way: str) -> None:
    stored: list[bytes] = []

    def storage(request: Request) -> Answer:
        stored.append(request.body)
        return Answer(201)

    with scripted(storage) as other:

        def registry(request: Request) -> Answer:
            elsewhere = f"http://{other.host}/storage?signature=secret"
            if "Authorization" not in request.headers or request.method == "HEAD":
                return lacking(request)
            if request.method == "POST":
                here = f"/v2/team/repo/blobs/uploads/1?from={request.path}"
                location = elsewhere if way == "location" else here
                return Answer(202, headers={"Location": location})
            if "/uploads/" in request.path:
                return Answer(307, headers={"Location": elsewhere})
            return Answer(201)

        with scripted(registry) as server:
            assert image.push(repository(server.host, known=ME))
    assert image.layer.size in map(len, stored)
    assert {request.method for request in other.seen} == {"PUT"}
    for request in other.seen:
        assert not {"Authorization", "Cookie"} & request.headers.keys()
        assert request.path.startswith("/storage?signature=secret")


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_another_host_cannot_ask_for_credentials(image: Pushable, scheme: str) -> None:
    with ExitStack() as stack:
        thief = stack.enter_context(scripted(lambda request: Answer(200, b'{"token": "t"}')))
        realm = f'{scheme} realm="http://{thief.host}/token",service="s"'
        asks = Answer(401, headers={"WWW-Authenticate": realm})
        other = stack.enter_context(scripted(lambda request: asks))
        moved = Answer(307, headers={"Location": f"http://{other.host}/storage"})
        server = stack.enter_context(
            scripted(lambda r: moved if "Authorization" in r.headers else lacking(r))
        )
        mine = repository(server.host, known=ME)
        with pytest.raises(FetchError, match="refuses access"):
            mine.manifest(image.root.digest)
    assert other.seen
    assert thief.seen == []
    assert not any("Authorization" in request.headers for request in other.seen)


def test_an_identity_token_does_not_follow_a_redirect(image: Pushable) -> None:
    with ExitStack() as stack:
        thief = stack.enter_context(scripted(lambda request: Answer(200, b'{"token": "t"}')))

        def registry(request: Request) -> Answer:
            if request.path.startswith("/token"):
                return Answer(307, headers={"Location": f"http://{thief.host}/token"})
            realm = f'Bearer realm="http://{server.host}/token"'
            return Answer(401, headers={"WWW-Authenticate": realm})

        server = stack.enter_context(scripted(registry))
        with pytest.raises(FetchError, match="has a token server without tokens"):
            repository(server.host, known=Credentials("", "", IDENTITY)).has(image.layer.digest)
    assert thief.seen == []
