"""Addresses: to whom they lead, and the logins that go with them."""

from __future__ import annotations

import base64
import netrc
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOCAL = ("localhost", "127.0.0.1", "::1")
"""This machine, which no proxy leads to, and registries are spoken to by http on."""


@dataclass(frozen=True, slots=True)
class Login:
    """The value of an Authorization header, which goes to the origin of the address `of` alone."""

    of: str
    value: str = field(repr=False)


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port (RFC 6454)."""
    at = urlsplit(url)
    return at.scheme, at.hostname, at.port or {"https": 443, "http": 80}.get(at.scheme)


def is_local(url: str) -> bool:
    """Whether the host is this machine."""
    return urlsplit(url).hostname in LOCAL


def basic(user: str, password: str) -> str:
    """The value of an Authorization header (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def login_in(url: str) -> Login | None:
    """The login that an address itself has, if any."""
    with suppress(ValueError):  # an address that is none, as its request will tell
        at = urlsplit(url)
        if at.username is not None:
            return Login(url, basic(unquote(at.username), unquote(at.password or "")))
    return None


def netrc_login(environ: Mapping[str, str], url: str) -> tuple[str, str] | None:
    """User and password that the file `NETRC`, by default `~/.netrc`, has for the host of `url`."""
    path = environ.get("NETRC") or f"{environ.get('HOME') or Path.home()}/.netrc"
    try:
        found = netrc.netrc(path).authenticators(urlsplit(url).hostname or "")
    except (OSError, ValueError, netrc.NetrcParseError):
        return None
    return (found[0], found[2]) if found else None
