"""Package indexes as uv and pip are configured: addresses, credentials and certificates."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mfbuild.engine.foreign import has_nul
from mfbuild.errors import UsageError
from mfbuild.files import words_of
from mfbuild.http.addresses import netrc_login, origin
from mfbuild.http.trust import Trust

_USERINFO = re.compile(r"(?<=://)[^/@\s`]+@")


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Where packages come from.

    uv runs in `workspace` with `environ`, in which what only pip was told stands as uv's own
    variables, and with `flags`. `indexes` are all known index URLs, credentials included.
    """

    workspace: Path
    environ: Mapping[str, str] = field(repr=False)
    flags: tuple[str, ...] = ()
    indexes: tuple[str, ...] = field(default=(), repr=False)
    keyring: bool = False

    def trust(self) -> Trust:
        """Whose certificates uv believes with these settings."""
        names = ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS")
        return Trust(self.environ, system=any(_on(self.environ, name) for name in names))

    def credentials(self, url: str) -> tuple[str, str] | None:
        """User and password for `url`: its index's own, else the keyring's, else netrc's.

        Only an index of the same scheme, host and port counts; among several there, the one
        whose path `url` shares most of.
        """
        near = [i for i in self.indexes if origin(i) == origin(url) and "@" in urlsplit(i).netloc]
        if not near:
            return netrc_login(self.environ, url)
        chosen = urlsplit(max(near, key=lambda i: _shared(i, url)))
        user, password = unquote(chosen.username or ""), unquote(chosen.password or "")
        return user, password or self._keyring(urlunsplit(chosen), user)

    def _keyring(self, url: str, user: str) -> str:
        services = (without_credentials(url), urlsplit(url).hostname or "") if self.keyring else ()
        for service in services:
            command = ["keyring", "get", service, user]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, env=dict(self.environ), check=False
                )
            except OSError:
                return ""
            if done.returncode == 0 and done.stdout.strip():
                return done.stdout.strip()
        return ""


def read_settings(workspace: Path, environ: Mapping[str, str]) -> IndexSettings:
    """The settings that hold in `workspace`: uv's own, and pip's where uv has none.

    uv's come from UV_* and the uv.toml and pyproject.toml that uv itself reads, pip's from PIP_*
    and the pip.conf files. UsageError for a file that cannot be read.
    """
    tables = _uv_tables(workspace, environ)
    pip = _pip_options(environ)
    child = dict(environ)
    if not _uv_has(tables, environ, "index-url", default=True):
        _set(child, "UV_DEFAULT_INDEX", pip.get("index-url", ())[-1:])
    if not _uv_has(tables, environ, "extra-index-url", default=False):
        _set(child, "UV_INDEX", pip.get("extra-index-url", ()))
    if not any(t.get("find-links") for t in tables) and not environ.get("UV_FIND_LINKS"):
        _set(child, "UV_FIND_LINKS", [p for p in pip.get("find-links", ()) if _exists(p)], ",")
    keyring = next((t["keyring-provider"] for t in tables if "keyring-provider" in t), "")
    if not keyring:
        child.setdefault("UV_KEYRING_PROVIDER", environ.get("PIP_KEYRING_PROVIDER", ""))
    if child.get("UV_KEYRING_PROVIDER") not in ("disabled", "subprocess"):
        child.pop("UV_KEYRING_PROVIDER", None)
    if not environ.get("SSL_CERT_FILE"):
        _set(child, "SSL_CERT_FILE", pip.get("cert", ())[-1:])
    no_index = pip.get("no-index", ("",))[-1].lower() in ("1", "true", "yes", "on")
    return IndexSettings(
        workspace=workspace,
        environ=child,
        flags=("--no-index",) if no_index else (),
        indexes=tuple(url for url in _indexes(tables, child) if is_url(url)),
        keyring=child.get("UV_KEYRING_PROVIDER", keyring) == "subprocess",
    )


def is_url(text: str) -> bool:
    """Whether `text` is a well-formed http, https or file URL."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https", "file") and (parts.port or 0) >= 0
    except ValueError:
        return False


def without_credentials(url: str) -> str:
    """`url` without user, password and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def redact(text: str) -> str:
    """`text` with the credentials of every URL in it hidden."""
    return _USERINFO.sub("***@", text)


def _uv_tables(workspace: Path, environ: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """uv's configuration files that hold, first one first, `[pip]` merged over the rest."""
    if _on(environ, "UV_NO_CONFIG"):
        return []
    if environ.get("UV_CONFIG_FILE"):
        tables = [_toml(Path(environ["UV_CONFIG_FILE"]))]
    else:
        home = Path(environ.get("HOME") or Path.home())
        user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        tables = [_project_table(workspace.absolute()), _toml(user / "uv" / "uv.toml")]
        tables += [_toml(folder / "uv" / "uv.toml") for folder in (*_xdg(environ), Path("/etc"))]
    return [{**table, **table.get("pip", {})} for table in tables if table]


def _project_table(workspace: Path) -> Mapping[str, Any]:
    for folder in (workspace, *workspace.parents):
        if (folder / "uv.toml").is_file():
            return _toml(folder / "uv.toml")
        table: Mapping[str, Any] | None = _toml(folder / "pyproject.toml").get("tool", {}).get("uv")
        if table is not None:
            return table
    return {}


def _toml(path: Path) -> Mapping[str, Any]:
    import tomli

    try:
        table = tomli.loads(path.read_text(encoding="utf-8"))
        if has_nul(table):
            raise ValueError("it holds the character NUL")
        return table
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot be read: {words_of(error)}", where=str(path)) from error


def _uv_has(
    tables: Sequence[Mapping[str, Any]], environ: Mapping[str, str], key: str, *, default: bool
) -> bool:
    """Whether uv itself is told its default index, or an index besides it."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL") if default else ("UV_INDEX", "UV_EXTRA_INDEX_URL")
    entries = [entry for table in tables for entry in table.get("index", ())]
    return (
        any(environ.get(name) for name in names)
        or any(key in table for table in tables)
        or any(bool(entry.get("default")) == default for entry in entries)
    )


def _indexes(tables: Sequence[Mapping[str, Any]], environ: Mapping[str, str]) -> Iterator[str]:
    """Every index URL, with the credentials that UV_INDEX_<NAME>_* add (uv, "Authentication")."""
    named: list[tuple[str, str]] = []
    for variable in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL"):
        for word in environ.get(variable, "").split():
            name, equals, url = word.partition("=")
            named.append((name, url) if equals and "/" not in name else ("", word))
    for table in tables:
        named += [(e.get("name", ""), e["url"]) for e in table.get("index", ()) if "url" in e]
        plain = [table.get("index-url", ""), *table.get("extra-index-url", ())]
        named += [("", url) for url in plain if url]
    for name, url in named:
        prefix = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
        user = environ.get(f"{prefix}_USERNAME", "") if name else ""
        password = environ.get(f"{prefix}_PASSWORD", "") if name else ""
        yield _with_credentials(url, user, password) if user or password else url


def _with_credentials(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = user or unquote(parts.username or "")
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))


def _pip_options(environ: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """pip's options by name, each as its words; a later file, then PIP_*, replaces an earlier."""
    found: dict[str, Sequence[str]] = {}
    for path in _pip_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            message = " ".join(str(error).split())
            raise UsageError(f"cannot be read: {message}", where=str(path)) from error
        for section in ("global", "install"):
            if parser.has_section(section):
                options = dict(parser.items(section))
                if has_nul(options):
                    raise UsageError("cannot be read: it holds the character NUL", where=str(path))
                found.update((k.replace("_", "-"), v.split()) for k, v in options.items())
    names = ("index-url", "extra-index-url", "find-links", "no-index", "cert")
    for name in names:
        value = environ.get("PIP_" + name.upper().replace("-", "_"), "")
        if value.split():
            found[name] = value.split()
    return found


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Where pip looks, least important first (pip, "Configuration files")."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [folder / "pip" / "pip.conf" for folder in _xdg(environ)]
    files += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", user / "pip" / "pip.conf"]
    if sys.platform == "darwin":
        support = Path("Library", "Application Support", "pip", "pip.conf")
        files = [Path("/") / support, *files, home / support]
    return [*files, Path(sys.prefix, "pip.conf"), *([Path(chosen)] if chosen else [])]


def _set(environ: dict[str, str], name: str, words: Sequence[str], separator: str = " ") -> None:
    if words:
        environ[name] = separator.join(words)


def _exists(link: str) -> bool:
    return "://" in link or Path(link).exists()


def _xdg(environ: Mapping[str, str]) -> list[Path]:
    return [Path(p) for p in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if p]


def _on(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in ("1", "true", "yes", "on", "y", "t")


def _shared(one: str, other: str) -> int:
    pairs = zip(urlsplit(one).path.split("/"), urlsplit(other).path.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
