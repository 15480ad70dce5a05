"""Credentials for registries: docker's config.json, its helpers, and the bearer token flow."""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfbuild.engine.foreign import parse_json
from mfbuild.errors import FetchError, UsageError

HELPER_SECONDS = 60
_NOT_FOUND = "credentials not found"
_IDENTITY = "<token>"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry knows a person by; either a password, or an identity token (OAuth2)."""

    username: str
    password: str = field(repr=False, default="")
    identity_token: str | None = field(repr=False, default=None)

    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


Lookup = Callable[[str], Credentials | None]


@dataclass(frozen=True, slots=True)
class Challenge:
    """A WWW-Authenticate header that asks for `scheme` (`basic` or `bearer`)."""

    scheme: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> Challenge | None:
        """The bearer challenge of a header (RFC 6750, RFC 7617), else the basic one, else None."""
        found: dict[str, dict[str, str]] = {}
        current: dict[str, str] = {}
        for scheme, key, quoted, plain in _CHALLENGE.findall(header):
            if scheme:
                current = found.setdefault(scheme.lower(), {})
            else:
                current[key.lower()] = re.sub(r"\\(.)", r"\1", quoted) or plain
        for wanted in ("bearer", "basic"):
            if wanted in found:
                return cls(wanted, found[wanted])
        return None


_CHALLENGE = re.compile(r'(\w+)(?!\w|\s*=)|(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


def docker_credentials(name: str, environ: Mapping[str, str]) -> Credentials | None:
    """Who to be at `name`, `host[:port]` or `host[:port]/repository`; None for nobody.

    `DOCKER_CONFIG` is the folder of docker's config.json (default `~/.docker`). A helper for the
    host goes before the helper for all, and that before what is in the file, as docker does it;
    there the longest key that `name` begins with counts (containers-auth.json(5)). UsageError if
    the file cannot be read, FetchError if a helper fails.
    """
    host = name.partition("/")[0]
    folder = environ.get("DOCKER_CONFIG") or str(
        Path(environ.get("HOME", "~")).expanduser() / ".docker"
    )
    config = _config(Path(folder) / "config.json")
    helper = _object(config, "credHelpers").get(host) or config.get("credsStore")
    if helper and (found := _ask_helper(str(helper), host)):
        return found
    auths = _object(config, "auths")
    for key in _keys(name):
        for spelled in (key, *(k for k in auths if k != key and _plain_key(k) == key)):
            if isinstance(entry := auths.get(spelled), dict) and entry:
                return _entry(entry, host)
    return None


def _config(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        # The file holds secrets, which a parser's message might quote.
        raise UsageError(f"`{path}` cannot be read: {type(error).__name__}") from None
    return value if isinstance(value, dict) else {}


def _object(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _keys(name: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host`."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def _plain_key(key: str) -> str:
    """Keys of `auths` may be addresses, as `https://host/v1/`: the host, and what is below it."""
    return re.sub(r"/(v[12]/?)?$", "", key.partition("://")[2] if "://" in key else key)


def _entry(entry: Mapping[str, Any], host: str) -> Credentials | None:
    username, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if auth := entry.get("auth"):
        try:
            username, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, ValueError, TypeError):
            raise UsageError(f"docker's config.json has a broken `auth` for `{host}`") from None
    token = entry.get("identitytoken")
    if not (username or token):
        return None
    return Credentials(username, password.rstrip("\0"), str(token) if token else None)


def _ask_helper(name: str, host: str) -> Credentials | None:
    """Run `docker-credential-<name> get`; None if it knows no credentials for `host`."""
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, timeout=HELPER_SECONDS
        )
    except FileNotFoundError:
        hint = "install it, or remove it from docker's config.json"
        raise FetchError(f"the credential helper `{program}` is not installed", hint=hint) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"`{program}` failed: {type(error).__name__}") from None
    # What a helper prints may hold secrets, so that it is never shown.
    if done.returncode:
        if _NOT_FOUND.encode() in done.stdout + done.stderr:
            return None
        raise FetchError(f"`{program}` failed for `{host}` with exit code `{done.returncode}`")
    try:
        answer = parse_json(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise FetchError(f"`{program}` gave an answer that is not a credential") from None
    if username == _IDENTITY:
        return Credentials("", "", secret)
    return Credentials(username, secret)
