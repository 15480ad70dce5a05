"""Logins by flytekit's own authenticators and keyring; it is imported when one is due."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flyteidl.service.auth_pb2 import OAuth2MetadataResponse, PublicClientAuthConfigResponse

from mfbuild.errors import FlyteError, MfbuildError
from mfbuild.flyte.settings import CLIENT_SECRET, PKCE, TOKEN, Settings, is_token

_OAUTH_ERROR = re.compile(r'"error"\s*:\s*"([a-z_]{1,40})"')


@dataclass(frozen=True, slots=True)
class LoginConfig:
    """What the server says about logging in (AuthMetadataService)."""

    public: PublicClientAuthConfigResponse
    oauth2: OAuth2MetadataResponse


class Login:
    """One way to log in at one Flyte. FlyteError where flytekit is missing, or the login fails."""

    def __init__(self, settings: Settings, config: LoginConfig) -> None:
        self._settings = settings
        with self._guarded():
            self._authenticator = _authenticator(settings, config)

    def token(self) -> str | None:
        """The token of a login before, which flytekit keeps in the keyring, or of the last one."""
        credentials = self._authenticator.get_credentials()
        return credentials.access_token if credentials else None

    def renewed_token(self) -> str:
        """A new token; a person may be asked for it in a browser or on the terminal."""
        if self._settings.login == PKCE and not sys.stderr.isatty():
            # flytekit would wait for the browser for ever.
            message = f"`{self._settings.endpoint}` wants a login in a browser, and nobody is there"
            raise FlyteError(message, hint=f"log in at a terminal, or give a token in `{TOKEN}`")
        with self._guarded():
            self._authenticator.refresh_credentials()
        token = self.token() or ""
        if not is_token(token):
            raise FlyteError(f"logging in at `{self._settings.endpoint}` gave no token")
        return token

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """flytekit talks on stderr alone, logs nothing, and fails with FlyteError."""
        name, way = f"`{self._settings.endpoint}`", self._settings.login
        disabled, hook = logging.root.manager.disable, sys.excepthook
        try:
            logging.disable()  # flytekit logs the answers of token servers
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except ImportError:
            message = f"{name} wants a login by `{way}`, which needs flytekit"
            raise FlyteError(message, hint=_how_to_install()) from None
        except MfbuildError:
            raise
        except Exception as error:
            # Whatever plugins and libraries raise: their texts may quote what they sent.
            said = _OAUTH_ERROR.search(str(error))
            reason = f"`{said[1]}`" if said else type(error).__name__
            raise FlyteError(f"logging in at {name} by `{way}` failed: {reason}") from None
        finally:
            logging.disable(disabled)
            sys.excepthook = hook  # flytekit has its own, which shows more


def _authenticator(settings: Settings, config: LoginConfig) -> Any:
    from flytekit.clients.auth.authenticator import ClientConfig, StaticClientConfigStore
    from flytekit.clients.auth_helper import get_authenticator
    from flytekit.configuration import PlatformConfig

    platform = PlatformConfig(
        endpoint=settings.endpoint,
        insecure=settings.insecure,
        insecure_skip_verify=settings.insecure_skip_verify,
        ca_cert_file_path=str(settings.ca_cert_file) if settings.ca_cert_file else None,
        proxy_command=list(settings.proxy_command) or None,
        client_id=settings.client_id,
        client_credentials_secret=_client_secret(settings),
        scopes=list(settings.scopes),
        auth_mode=settings.login,
        audience=settings.audience,
        http_proxy_url=settings.http_proxy,
    )
    client = ClientConfig(
        token_endpoint=config.oauth2.token_endpoint,
        authorization_endpoint=config.oauth2.authorization_endpoint,
        redirect_uri=config.public.redirect_uri,
        client_id=config.public.client_id,
        device_authorization_endpoint=config.oauth2.device_authorization_endpoint or None,
        scopes=list(config.public.scopes),
        header_key=config.public.authorization_metadata_key or "authorization",
        audience=config.public.audience,
    )
    return get_authenticator(platform, StaticClientConfigStore(client))


def _client_secret(settings: Settings) -> str | None:
    if settings.login != CLIENT_SECRET:
        return None
    hint = "set `admin.clientId`, and `admin.clientSecretLocation` or `admin.clientSecretEnvVar`"
    try:
        path = settings.client_secret_file
        secret = path.read_text().strip() if path else settings.client_secret
    except (OSError, UnicodeDecodeError) as error:
        message = f"the client's secret in `{path}` cannot be read: {type(error).__name__}"
        raise FlyteError(message) from None
    if not secret or not settings.client_id:
        message = f"a login at `{settings.endpoint}` by `{CLIENT_SECRET}` wants both id and secret"
        raise FlyteError(message, hint=hint)
    return secret


def _how_to_install() -> str:
    if sys.version_info >= (3, 13):
        return f"flytekit takes Python 3.12 at most; there, or give a token in `{TOKEN}`"
    return f"`pip install 'mfbuild[auth]'`, or give a token in `{TOKEN}`"
