"""Credentials: docker's config.json, credential helpers, and challenges."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.errors import FetchError, UsageError
from mfbuild.oci.auth import Challenge, Credentials, docker_credentials


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def configured(folder: Path, config: Any) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps(config))
    return {"DOCKER_CONFIG": str(folder)}


HOST = "registry.example.com"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": encoded("me:pass:word")}, Credentials("me", "pass:word")),
        ({"username": "me", "password": "word"}, Credentials("me", "word")),
        ({"auth": encoded("me:x"), "identitytoken": "tok"}, Credentials("me", "x", "tok")),
        ({"identitytoken": "tok"}, Credentials("", "", "tok")),
        ({}, None),
    ],
)
def test_an_entry_of_auths(tmp_path: Path, entry: Any, expected: Credentials | None) -> None:
    environ = configured(tmp_path, {"auths": {HOST: entry}})
    assert docker_credentials(HOST, environ) == expected
    assert docker_credentials("other.example.com", environ) is None


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"{HOST}/v2"])
def test_keys_may_be_addresses(tmp_path: Path, key: str) -> None:
    environ = configured(tmp_path, {"auths": {key: {"auth": encoded("a:b")}}})
    assert docker_credentials(HOST, environ) == Credentials("a", "b")
    assert docker_credentials(f"{HOST}:5000", environ) is None


def test_the_file_lies_in_the_home_by_default(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    configured(tmp_path / ".docker", {"auths": {HOST: {"auth": encoded("a:b")}}})
    assert docker_credentials(HOST, {"HOME": str(tmp_path)}) == Credentials("a", "b")


def test_nobody_is_logged_in_without_a_file(tmp_path: Path) -> None:
    assert docker_credentials(HOST, {"DOCKER_CONFIG": str(tmp_path)}) is None
    (tmp_path / "file").write_text("")
    assert docker_credentials(HOST, {"DOCKER_CONFIG": str(tmp_path / "file")}) is None


@pytest.mark.parametrize("text", ["{secret", "\udcff"])
def test_a_broken_file_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as caught:
        docker_credentials(HOST, {"DOCKER_CONFIG": str(tmp_path)})
    assert str(caught.value).startswith(f"`{tmp_path}/config.json` cannot be read: ")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("auth", ["*", encoded("ok")[:-1], 7, base64.b64encode(b"\xff").decode()])
def test_a_broken_entry_is_not_quoted(tmp_path: Path, auth: object) -> None:
    environ = configured(tmp_path, {"auths": {HOST: {"auth": auth}}})
    with pytest.raises(UsageError) as caught:
        docker_credentials(HOST, environ)
    assert str(caught.value) == f"docker's config.json has a broken `auth` for `{HOST}`"


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Put a credential helper on PATH."""
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_helper_is_asked_by_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """test "$1" = get && printf '{"Username":"%s","Secret":"s"}' "$(cat)" """
    helper(tmp_path, monkeypatch, "tests", script)
    for config in ({"credHelpers": {HOST: "tests"}}, {"credsStore": "tests"}):
        assert docker_credentials(HOST, configured(tmp_path, config)) == Credentials(HOST, "s")


def test_a_helper_may_give_an_identity_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, monkeypatch, "tests", """echo '{"Username":"<token>","Secret":"t"}'""")
    environ = configured(tmp_path, {"credsStore": "tests"})
    assert docker_credentials(HOST, environ) == Credentials("", "", "t")


def test_what_no_helper_knows_may_be_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, monkeypatch, "tests", "echo credentials not found in native store; exit 1")
    config = {"credsStore": "tests", "auths": {HOST: {"auth": encoded("a:b")}, "empty": {}}}
    assert docker_credentials(HOST, configured(tmp_path, config)) == Credentials("a", "b")
    assert docker_credentials("empty", configured(tmp_path, config)) is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo my-secret; exit 3", f"failed for `{HOST}` with exit code `3`"),
        ("echo my-secret", "gave an answer that is not a credential"),
        ("echo '[1]'", "gave an answer that is not a credential"),
    ],
)
def test_a_helper_that_fails_is_named_and_its_output_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    helper(tmp_path, monkeypatch, "tests", script)
    with pytest.raises(FetchError) as caught:
        docker_credentials(HOST, configured(tmp_path, {"credsStore": "tests"}))
    assert str(caught.value) == f"`docker-credential-tests` {message}"


def test_a_helper_that_is_missing_is_named(tmp_path: Path) -> None:
    environ = configured(tmp_path, {"credsStore": "nowhere-to-be-found"})
    expected = "the credential helper `docker-credential-nowhere-to-be-found` is not installed"
    with pytest.raises(FetchError, match=expected):
        docker_credentials(HOST, environ)


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials("me", "pass-word", "the-token"))
    assert "me" in shown
    assert "pass-word" not in shown
    assert "the-token" not in shown


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.example.com/t?a=b",service="s",scope="repository:a:pull,push"',
            Challenge(
                "bearer",
                {
                    "realm": "https://auth.example.com/t?a=b",
                    "service": "s",
                    "scope": "repository:a:pull,push",
                },
            ),
        ),
        ('basic realm="x"', Challenge("basic", {"realm": "x"})),
        (
            'Basic realm="x", Bearer realm = y ,service=z',
            Challenge("bearer", {"realm": "y", "service": "z"}),
        ),
        ('Bearer realm="a\\"b"', Challenge("bearer", {"realm": 'a"b'})),
        ("Negotiate", None),
        ("", None),
    ],
)
def test_challenges(header: str, expected: Challenge | None) -> None:
    assert Challenge.parse(header) == expected


@given(st.text(alphabet='Bearbsic =,"\\x', max_size=200))
def test_any_header_is_survived(header: str) -> None:
    found = Challenge.parse(header)
    assert found is None or found.scheme in ("basic", "bearer")


FIELDS = [HOST, f"{HOST}/a", "auths", "auth", "username", "password", "credsStore"]
KEYS = {
    f"{HOST}/other": "other",
    f"{HOST}/team": "team",
    f"{HOST}/team/flows": "flows",
    HOST: "host",
    f"https://{HOST}/v1/": "address",
}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (HOST, "host"),
        (f"{HOST}/t/f", "host"),
        (f"{HOST}/other", "other"),
        (f"{HOST}/others", "host"),
        (f"{HOST}/team/flow", "team"),
        (f"{HOST}/team/flows", "flows"),
        (f"{HOST}/team/flows/train", "flows"),
    ],
)
def test_the_longest_key_counts(tmp_path: Path, name: str, expected: str, order: int) -> None:
    """As docker and containers-auth.json(5) have it, in whatever order the keys stand."""
    auths = {key: {"auth": encoded(f"{who}:x")} for key, who in [*KEYS.items()][::order]}
    environ = configured(tmp_path, {"auths": auths})
    assert docker_credentials(name, environ) == Credentials(expected, "x")


def test_a_key_of_another_repository_is_not_for_the_host(tmp_path: Path) -> None:
    auths = {f"{HOST}/other": {"auth": encoded("other:x")}}
    assert docker_credentials(f"{HOST}/t/f", configured(tmp_path, {"auths": auths})) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS), inner),
    )
)
def test_any_config_is_read_or_refused(config: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environ = {**configured(Path(folder), config), "PATH": "/nonexistent"}
        with contextlib.suppress(UsageError, FetchError):
            docker_credentials(f"{HOST}/a/b", environ)
