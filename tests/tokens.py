"""A server of bearer tokens (distribution's token specification) that docker-registry trusts."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mfbuild.oci.auth import Credentials
from tests.registry import PASSWORD, USER, Answer, Request, Scripted, certificate, scripted

SERVICE = "registry of tests"
IDENTITY = "identity-token"
_ISSUER = "issuer of tests"


@dataclass(frozen=True)
class TokenServer:
    """A running server, and the `auth` section of a docker-registry that believes it."""

    server: Scripted
    auth: str

    def scopes(self) -> list[list[str]]:
        """What tokens were asked for, in order."""
        return [_asked(request).get("scope", []) for request in self.server.seen]


def _asked(request: Request) -> dict[str, list[str]]:
    text = request.body.decode() if request.method == "POST" else urlsplit(request.path).query
    return parse_qs(text)


@contextmanager
def token_server(folder: Path, rights: Mapping[str, str]) -> Iterator[TokenServer]:
    """Run one; USER with PASSWORD (or IDENTITY) has `rights`: actions by repository.

    What exceeds them is left out of a token, as the specification wants it. Nobody else gets one.
    """
    made = certificate(folder, "127.0.0.1")

    def answer(request: Request) -> Answer:
        asked = _asked(request)
        if request.method == "POST":
            known = asked.get("refresh_token") == [IDENTITY]
            scopes = [scope for text in asked["scope"] for scope in text.split()]
        else:
            known = request.headers.get("Authorization") == Credentials(USER, PASSWORD).basic()
            scopes = asked["scope"]
        if not known or asked["service"] != [SERVICE]:
            return Answer(401)
        access = [granted(scope) for scope in scopes]
        return Answer(200, json.dumps({"token": _signed(access, folder, made.key)}).encode())

    def granted(scope: str) -> dict[str, Any]:
        kind, name, actions = scope.split(":")
        allowed = rights.get(name, "").split(",")
        return {
            "type": kind,
            "name": name,
            "actions": sorted(set(actions.split(",")) & set(allowed)),
        }

    with scripted(answer) as server:
        chain = folder / "chain.pem"
        chain.write_bytes(made.authority.read_bytes())
        auth = (
            f"auth: {{token: {{realm: 'http://{server.host}/token', service: '{SERVICE}', "
            f"issuer: '{_ISSUER}', rootcertbundle: {chain}}}}}\n"
        )
        yield TokenServer(server, auth)


def _signed(access: list[dict[str, Any]], folder: Path, key: Path) -> str:
    """A JSON web token (RFC 7519) with RS256, its certificate in the header."""
    pem = (folder / "cert.pem").read_text().split("-----")[2]
    header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(pem.split())]}
    now = int(time.time())
    claims = {
        "iss": _ISSUER,
        "sub": USER,
        "aud": SERVICE,
        "exp": now + 300,
        "nbf": now - 10,
        "iat": now,
        "jti": str(time.monotonic_ns()),
        "access": access,
    }
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    sign = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    signature = subprocess.run(sign, input=text.encode(), check=True, capture_output=True).stdout
    return f"{text}.{_encoded(signature)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
