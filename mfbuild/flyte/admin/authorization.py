"""What authorizes calls: a given token, one that a command prints, or a login by flytekit."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flyteidl.service.auth_pb2 import (
    OAuth2MetadataRequest,
    OAuth2MetadataResponse,
    PublicClientAuthConfigRequest,
    PublicClientAuthConfigResponse,
)

from mfbuild.errors import FlyteError
from mfbuild.files import words_of
from mfbuild.flyte.admin.failures import Refusal
from mfbuild.flyte.admin.login import Login, LoginConfig
from mfbuild.flyte.settings import COMMAND, TOKEN, Settings, is_token

Metadata = tuple[tuple[str, str], ...]
Send = Callable[[Callable[..., Any], Any, str, Metadata], Any]

COMMAND_SECONDS = 300
"""A command may open a browser."""

_KEY = re.compile(r"[0-9a-z_.-]+")


class Authorization:
    """What authorizes calls to one Flyte, made when it is first needed; shared between threads.

    A given token and a command are used from the first call on, a login when the server asks for
    one. `service` is the stub of AuthMetadataService, which needs no authorization; `send` makes
    a call, given metadata. FlyteError where there is no way to log in.
    """

    def __init__(self, settings: Settings, service: Any, send: Send) -> None:
        self._settings = settings
        self._service = service
        self._send = send
        self._lock = threading.Lock()
        self._login: Login | None = None
        self._told: PublicClientAuthConfigResponse | None = None
        self._current: Metadata | None = None

    def metadata(self) -> Metadata:
        """What to send with a call."""
        with self._lock:
            if self._current is None:
                proxy = self._for_proxy()
                self._current = (*proxy, *self._bearer(self._given(), proxy))
            return self._current

    def renew(self, refused: Metadata) -> bool:
        """Whether there is something else to send, now that the server has refused this."""
        with self._lock:
            if self._current == refused:
                proxy = self._for_proxy()
                self._current = (*proxy, *self._bearer(self._given() or self._log_in(proxy), proxy))
            return self._current != refused

    def error(self) -> FlyteError:
        """What it means when the server does not accept what it was sent."""
        name = f"`{self._settings.endpoint}`"
        if self._settings.token:
            hint = f"give a new one, or none to log in by `{self._settings.login}`"
            return FlyteError(f"{name} does not accept the token in `{TOKEN}`", hint=hint)
        if self._settings.login == COMMAND:
            command = self._settings.command[0]
            return FlyteError(f"{name} does not accept the token that `{command}` prints")
        message = f"{name} does not accept the login by `{self._settings.login}`"
        return FlyteError(message, hint=f"or give a token in `{TOKEN}`")

    def _given(self) -> str | None:
        """The token that needs no login."""
        if self._settings.token is None and self._settings.login == COMMAND:
            return _output(self._settings.command)
        return self._settings.token

    def _log_in(self, proxy: Metadata) -> str:
        """A token by flytekit; at first one that it kept from a login before."""
        if self._login is None:
            self._login = Login(self._settings, self._config(proxy))
            if kept := self._login.token():
                return kept
        return self._login.renewed_token()

    def _config(self, proxy: Metadata) -> LoginConfig:
        public, doing = self._public(proxy), "say how to log in"
        method = self._service.GetOAuth2Metadata
        oauth2: OAuth2MetadataResponse = self._send(method, OAuth2MetadataRequest(), doing, proxy)
        return LoginConfig(public, oauth2)

    def _for_proxy(self) -> Metadata:
        """What a proxy before Flyte wants, like Google's IAP."""
        if not self._settings.proxy_command:
            return ()
        return (("proxy-authorization", f"Bearer {_output(self._settings.proxy_command)}"),)

    def _bearer(self, token: str | None, proxy: Metadata) -> Metadata:
        if token is None:
            return ()
        # A service mesh may keep `authorization` for itself; flyteadmin then names another key.
        key = self._public(proxy).authorization_metadata_key.lower() or "authorization"
        if not _KEY.fullmatch(key):
            raise FlyteError(f"`{self._settings.endpoint}` wants tokens under a key that is none")
        return ((key, f"Bearer {token}"),)

    def _public(self, proxy: Metadata) -> PublicClientAuthConfigResponse:
        """What the server tells everyone; nothing where it has no authorization of its own."""
        if self._told is None:
            method, request = self._service.GetPublicClientConfig, PublicClientAuthConfigRequest()
            try:
                self._told = self._send(method, request, "say how to log in", proxy)
            except Refusal as refusal:
                if refusal.code != "UNIMPLEMENTED":
                    raise
                self._told = PublicClientAuthConfigResponse()
        return self._told


def _output(command: Sequence[str]) -> str:
    """The token that a command prints; its output is shown nowhere."""
    name = f"`{command[0]}`"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FlyteError(f"{name}, which prints the token, failed: {_reason(error)}") from None
    if done.returncode:
        hint = "run it to see why"
        raise FlyteError(f"{name}, which prints the token, ended with {done.returncode}", hint=hint)
    token = done.stdout.decode(errors="replace").strip()
    if not is_token(token):
        raise FlyteError(f"{name} prints something that is not a token")
    return token


def _reason(error: Exception) -> str:
    return words_of(error) if isinstance(error, OSError) else "it took too long"
