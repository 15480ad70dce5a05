"""Which Flyte is meant, and how it is reached: BUILD.toml, variables and flytekit's own files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfbuild.errors import Problem, UsageError

TOKEN = "MFBUILD_FLYTE_TOKEN"
NONE = "local"
"""As an endpoint: no Flyte, but the embedded backend."""

PKCE, CLIENT_SECRET, COMMAND, DEVICE = "Pkce", "ClientSecret", "ExternalCommand", "DeviceFlow"


@dataclass(frozen=True, slots=True)
class Settings:
    """How one Flyte is reached.

    `endpoint` is `host[:port]` as it was written, and `source` where; `login` one of flytectl's
    ways to log in, or the name of a plugin of flytekit. What may be secret is in no repr.
    """

    endpoint: str
    source: str
    insecure: bool = False
    insecure_skip_verify: bool = False
    ca_cert_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    login: str = PKCE
    command: tuple[str, ...] = field(default=(), repr=False)
    proxy_command: tuple[str, ...] = field(default=(), repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ()
    audience: str | None = None
    http_proxy: str | None = field(default=None, repr=False)

    @property
    def target(self) -> str:
        """`host:port`, the port being that of https or http where none was written."""
        host, port = _host_and_port(self.endpoint)
        return f"{host}:{port or (80 if self.insecure else 443)}"

    @property
    def is_on_loopback(self) -> bool:
        return _host_and_port(self.endpoint)[0] in ("localhost", "127.0.0.1", "[::1]")


def find_settings(endpoint: str | None, env: Mapping[str, str], folder: Path) -> Settings | None:
    """The Flyte that `endpoint` (of BUILD.toml or MFBUILD_ENDPOINT) names, else flytekit's own.

    flytekit's options come from `FLYTE_<SECTION>_<OPTION>` or else from one file: FLYTECTL_CONFIG,
    `flytekit.config` in `folder`, `~/.flyte/config`, `~/.flyte/config.yaml`. Where a source names
    an endpoint that is not the one in use, nothing of it counts, so that no secret and no
    `insecure` goes to another server than the one it was written for. None: no Flyte is
    configured. UsageError names the file or the variable that is wrong.
    """
    if endpoint == NONE:
        return None
    layers = [*_file_layers(env, folder), _env_layer(env)]
    if endpoint is not None:
        layers.append(
            _layer("BUILD.toml or MFBUILD_ENDPOINT", {"endpoint": ("endpoint", endpoint)})
        )
    named = [(layer, text) for layer in layers if (text := layer.endpoint) is not None]
    if not named:
        return None
    used, text = named[-1]
    options: dict[str, Any] = {}
    for layer in layers:
        if layer.endpoint is None or _same(layer.endpoint, text):
            options |= layer.values
    return _settings(text, used.source, options, env)


def _settings(text: str, source: str, options: dict[str, Any], env: Mapping[str, str]) -> Settings:
    scheme, bare = _split(text)
    secret, login = _client_secret(options, env)
    if login == COMMAND and not options.get("command"):
        hint = "set `admin.command`, or FLYTE_CREDENTIALS_COMMAND"
        raise UsageError(f"`{bare}` wants `{COMMAND}`, but no command is set", hint=hint)
    return Settings(
        endpoint=bare,
        source=source,
        insecure=scheme == "http" or (scheme != "https" and options.get("insecure", False)),
        insecure_skip_verify=options.get("insecure_skip_verify", False),
        ca_cert_file=_path(options.get("ca_cert_file")),
        token=_token(env),
        login=login,
        command=options.get("command", ()),
        proxy_command=options.get("proxy_command", ()),
        client_id=options.get("client_id"),
        client_secret=secret,
        client_secret_file=_path(options.get("client_secret_file")),
        scopes=options.get("scopes", ()),
        audience=options.get("audience"),
        http_proxy=options.get("http_proxy"),
    )


def _client_secret(options: Mapping[str, Any], env: Mapping[str, str]) -> tuple[str | None, str]:
    """The secret that is known by now, and the way to log in.

    As in flytekit: a secret in a file or in a variable of its own means `ClientSecret`.
    """
    login = options.get("login", PKCE)
    if by_variable := env.get(options.get("client_secret_env", "")):
        return by_variable, CLIENT_SECRET
    if "client_secret_file" in options:
        return None, CLIENT_SECRET
    return options.get("client_secret"), _LOGINS.get(login.lower(), login)


_LOGINS = {
    "standard": PKCE,
    "pkce": PKCE,
    "basic": CLIENT_SECRET,
    "client_credentials": CLIENT_SECRET,
    "clientsecret": CLIENT_SECRET,
    "external_process": COMMAND,
    "externalcommand": COMMAND,
    "deviceflow": DEVICE,
}
"""flytekit's names of ways to log in, in lower case (`configuration.AuthType`)."""

_OPTIONS = {
    "endpoint": ("platform", "url", "endpoint"),
    "insecure": ("platform", "insecure", "insecure"),
    "insecure_skip_verify": ("platform", "insecure_skip_verify", "insecureSkipVerify"),
    "ca_cert_file": ("platform", "ca_cert_file_path", "caCertFilePath"),
    "http_proxy": ("platform", "http_proxy_url", "httpProxyURL"),
    "login": ("credentials", "auth_mode", "authType"),
    "command": ("credentials", "command", "command"),
    "proxy_command": ("credentials", "proxy_command", "proxyCommand"),
    "client_id": ("credentials", "client_id", "clientId"),
    "client_secret": ("credentials", "client_secret", None),
    "client_secret_file": ("credentials", "client_secret_location", "clientSecretLocation"),
    "client_secret_env": ("credentials", "client_secret_env_var", "clientSecretEnvVar"),
    "scopes": ("credentials", "scopes", "scopes"),
    "audience": ("credentials", "audience", "audience"),
}
"""Section and option of flytekit's ini file and variables, and the key below `admin` in YAML
(flytekit's `configuration/internal.py`)."""

_FLAGS = ("insecure", "insecure_skip_verify")
_LISTS = ("command", "proxy_command", "scopes")
_WORDS = {"true": True, "1": True, "yes": True, "on": True}
_WORDS |= {"false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one source sets, by the keys of _OPTIONS."""

    source: str
    values: Mapping[str, Any]

    @property
    def endpoint(self) -> str | None:
        return self.values.get("endpoint")


def _file_layers(env: Mapping[str, str], folder: Path) -> Iterator[_Layer]:
    path = _config_file(env, folder)
    if path is not None:
        read = _read_yaml if path.suffix in (".yaml", ".yml") else _read_ini
        yield _layer(str(path), read(path), where=str(path))


def _config_file(env: Mapping[str, str], folder: Path) -> Path | None:
    if chosen := env.get("FLYTECTL_CONFIG"):
        path = folder / Path(chosen).expanduser()
        if not path.is_file():
            raise UsageError(f"`FLYTECTL_CONFIG` names `{chosen}`, which is not a file")
        return path
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    usual = (folder / "flytekit.config", home / ".flyte/config", home / ".flyte/config.yaml")
    return next((path for path in usual if path.is_file()), None)


def _env_layer(env: Mapping[str, str]) -> _Layer:
    names = {key: f"FLYTE_{s}_{o}".upper() for key, (s, o, _) in _OPTIONS.items()}
    return _layer("FLYTE_PLATFORM_URL", {names[k]: (k, env.get(names[k])) for k in _OPTIONS})


def _read_ini(path: Path) -> dict[str, tuple[str, Any]]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise _unreadable(path, error, getattr(error, "lineno", None)) from None
    return {
        f"{section}.{option}": (key, parser.get(section, option, fallback=None))
        for key, (section, option, _) in _OPTIONS.items()
    }


def _read_yaml(path: Path) -> dict[str, tuple[str, Any]]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        raise _unreadable(path, error, mark.line + 1 if mark else None) from None
    admin = document.get("admin") if isinstance(document, dict) else document
    if not isinstance(admin, dict | None):
        raise UsageError("`admin` must be a table", where=str(path))
    values = admin or {}
    return {f"admin.{y}": (k, values.get(y)) for k, (_, _, y) in _OPTIONS.items() if y}


def _unreadable(path: Path, error: Exception, line: int | None) -> UsageError:
    # The file may hold secrets, which a parser's message would quote.
    where = f"{path}:{line}" if line else str(path)
    return UsageError(f"`{path.name}` cannot be read: {type(error).__name__}", where=where)


def _layer(source: str, found: Mapping[str, tuple[str, Any]], where: str | None = None) -> _Layer:
    """The values that are set, each of its type; `found` are key and value by the written name."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, (key, value) in found.items():
        if value is None or value == "":
            continue
        try:
            values[key] = _convert(key, value)
        except ValueError as error:
            problems.append(Problem(f"`{name}` must be {error}", where))
    UsageError.raise_for(problems)
    return _Layer(source, values)


def _convert(key: str, value: Any) -> Any:
    """A value of its option's type; ValueError says what it must be."""
    if key in _FLAGS:
        found = value if isinstance(value, bool) else _WORDS.get(str(value).lower())
        if found is None:
            raise ValueError("true or false")
        return found
    if key in _LISTS:
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("a list of strings")
        return tuple(words)
    if not isinstance(value, str):
        raise ValueError("a string")
    if key == "endpoint":
        _split(value)
    return value


_ENDPOINT = re.compile(
    r"(?:dns:///|(?P<scheme>https?)://)?"
    r"(?P<bare>(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?)/?"
)


def _split(text: str) -> tuple[str, str]:
    """`http`, `https` or "", and `host[:port]` of an endpoint; ValueError if it is none."""
    match = _ENDPOINT.fullmatch(text.strip())
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ValueError(f"like `dns:///flyte.example.com:443`, not `{_without_password(text)}`")
    return match["scheme"] or "", match["bare"]


def _without_password(text: str) -> str:
    head, _, host = text.rpartition("@")
    scheme, slashes, login = head.rpartition("://")
    return f"{scheme}{slashes}…@{host}" if ":" in login else text


def _host_and_port(bare: str) -> tuple[str, str]:
    host, colon, port = bare.rpartition(":")
    return (host, port) if colon and port.isdigit() else (bare, "")


def _same(one: str, other: str) -> bool:
    """Whether two endpoints are one server, a port that was not written being any."""
    (host, port), (other_host, other_port) = (_host_and_port(_split(t)[1]) for t in (one, other))
    return host == other_host and (port or other_port) == (other_port or port)


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _token(env: Mapping[str, str]) -> str | None:
    token = env.get(TOKEN, "").strip()
    if token and not is_token(token):
        raise UsageError(f"`{TOKEN}` holds something that is not a token")
    return token or None


def is_token(text: str) -> bool:
    """Whether `text` can be sent as a token; gRPC would show anything else in its error."""
    return text != "" and all("!" <= character <= "~" for character in text)
