"""Who may call: bearer tokens, and the services that tell a client how to get one."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from flyteidl.service.auth_pb2 import OAuth2MetadataResponse, PublicClientAuthConfigResponse
from flyteidl.service.identity_pb2 import UserInfoResponse
from grpc import StatusCode

from tests.flyteadmin.refusals import Refused

CLIENT, SECRET = "mfbuild-client", "client-secret"
ANONYMOUS = frozenset({"GetOAuth2Metadata", "GetPublicClientConfig"})
"""What needs no token."""
TOKEN_PATH = "/oauth2/token"


@dataclass
class Authority:
    """The only token that is accepted, None for all calls; at TOKEN_PATH a client gets it.

    Set another token and the old one has expired.
    """

    token: str | None = field(default=None, repr=False)
    origin: str = ""
    issued: int = 0

    def check(self, rpc: str, metadata: Any) -> None:
        """Refuse a call whose metadata has another token."""
        if self.token is None or rpc in ANONYMOUS:
            return
        sent = dict(metadata).get("authorization", "")
        if not isinstance(sent, str) or sent.lower() != f"bearer {self.token}".lower():
            reason = "[access token err: rpc error: code = Unauthenticated desc = "
            reason += "Request unauthenticated with Bearer]"
            raise Refused(StatusCode.UNAUTHENTICATED, f"token parse error {reason}")

    def expire(self) -> str:
        """Make another token the only one that is accepted; it is the answer."""
        self.token = secrets.token_urlsafe(16)
        return self.token

    def metadata(self, request: Any) -> OAuth2MetadataResponse:
        """GetOAuth2Metadata."""
        return OAuth2MetadataResponse(
            issuer=self.origin,
            authorization_endpoint=f"{self.origin}/oauth2/authorize",
            token_endpoint=f"{self.origin}{TOKEN_PATH}",
            jwks_uri=f"{self.origin}/oauth2/jwks",
            code_challenge_methods_supported=["S256"],
            response_types_supported=["code", "token", "code token"],
            grant_types_supported=["client_credentials", "refresh_token", "authorization_code"],
            scopes_supported=["all"],
            token_endpoint_auth_methods_supported=["client_secret_basic"],
        )

    def client(self, request: Any) -> PublicClientAuthConfigResponse:
        """GetPublicClientConfig."""
        return PublicClientAuthConfigResponse(
            client_id="flytectl",
            redirect_uri="http://localhost:53593/callback",
            scopes=["all", "offline"],
            authorization_metadata_key="authorization",
        )

    def user(self, request: Any) -> UserInfoResponse:
        """UserInfo."""
        return UserInfoResponse(subject=CLIENT)

    def post(self, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        """The token endpoint, for client credentials alone."""
        wanted = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if path != TOKEN_PATH:
            return 404, b"{}"
        if headers.get("Authorization") != f"Basic {wanted}":
            return 401, json.dumps({"error": "invalid_client"}).encode()
        if parse_qs(body.decode()).get("grant_type") != ["client_credentials"]:
            return 400, json.dumps({"error": "unsupported_grant_type"}).encode()
        self.issued += 1
        answer = {"access_token": self.token, "token_type": "bearer", "expires_in": 3600}
        return 200, json.dumps(answer).encode()
