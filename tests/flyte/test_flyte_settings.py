"""Which Flyte is meant, and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mfbuild.errors import UsageError
from mfbuild.flyte.settings import Settings, find_settings


def find(home: Path, endpoint: str | None = None, **env: str) -> Settings | None:
    return find_settings(endpoint, {"HOME": str(home), **env}, home)


def found(home: Path, endpoint: str | None = None, **env: str) -> Settings:
    settings = find(home, endpoint, **env)
    assert settings is not None
    return settings


def config(home: Path, text: str, name: str = "config.yaml") -> Path:
    path = home / ".flyte" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_is_configured(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    assert find(tmp_path, FLYTE_PLATFORM_INSECURE="true") is None
    config(tmp_path, "logger: {show-source: true}\n")
    assert find(tmp_path) is None


def test_local_is_no_flyte_whatever_is_configured(tmp_path: Path) -> None:
    assert find(tmp_path, "local", FLYTE_PLATFORM_URL="flyte.example.com") is None


@pytest.mark.parametrize(
    ("written", "endpoint", "target", "insecure"),
    [
        ("flyte.example.com", "flyte.example.com", "flyte.example.com:443", False),
        ("dns:///flyte.example.com", "flyte.example.com", "flyte.example.com:443", False),
        ("dns:///localhost:30080", "localhost:30080", "localhost:30080", False),
        ("https://flyte.example.com/", "flyte.example.com", "flyte.example.com:443", False),
        ("http://127.0.0.1", "127.0.0.1", "127.0.0.1:80", True),
        ("http://[::1]:81", "[::1]:81", "[::1]:81", True),
        ("[::1]", "[::1]", "[::1]:443", False),
    ],
)
def test_ways_to_write_an_endpoint(
    tmp_path: Path, written: str, endpoint: str, target: str, insecure: bool
) -> None:
    settings = found(tmp_path, written)
    assert (settings.endpoint, settings.target) == (endpoint, target)
    assert settings.insecure is insecure
    assert settings.source == "BUILD.toml or MFBUILD_ENDPOINT"


@pytest.mark.parametrize(
    "written",
    ["http://", "ftp://host", "host/path", "host:0", "host:70000", "a b", "user@host", "host:x"],
)
def test_what_is_no_endpoint(tmp_path: Path, written: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(tmp_path, written)
    assert str(caught.value) == (
        f"`endpoint` must be like `dns:///flyte.example.com:443`, not `{written}`"
    )


@pytest.mark.parametrize("scheme", ["https://", ""])
def test_a_password_in_an_endpoint_is_not_shown(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(tmp_path, f"{scheme}someone:secret-word@flyte.example.com")
    assert str(caught.value).endswith(f"not `{scheme}…@flyte.example.com`")


def test_every_option_of_a_yaml_file(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        """
        admin:
          endpoint: dns:///flyte.example.com:8089
          insecure: true
          insecureSkipVerify: "yes"
          caCertFilePath: /ca.pem
          httpProxyURL: http://proxy
          authType: externalcommand
          command: [token, --short]
          proxyCommand: [iap]
          clientId: me
          scopes: [all, offline]
          audience: them
        storage: {kind: s3}
        """,
    )
    assert found(tmp_path) == Settings(
        endpoint="flyte.example.com:8089",
        source=str(path),
        insecure=True,
        insecure_skip_verify=True,
        ca_cert_file=Path("/ca.pem"),
        login="ExternalCommand",
        command=("token", "--short"),
        proxy_command=("iap",),
        client_id="me",
        scopes=("all", "offline"),
        audience="them",
        http_proxy="http://proxy",
    )


def test_an_ini_file(tmp_path: Path) -> None:
    text = """
    [platform]
    url = flyte.example.com
    insecure = False
    [credentials]
    auth_mode = basic
    client_id = me
    client_secret = 100%secret
    scopes = all,offline
    [images]
    mine = docker.io/mine
    """
    path = config(tmp_path, "\n".join(line.strip() for line in text.splitlines()), "config")
    assert found(tmp_path) == Settings(
        endpoint="flyte.example.com",
        source=str(path),
        login="ClientSecret",
        client_id="me",
        client_secret="100%secret",
        scopes=("all", "offline"),
    )


def test_files_in_flytekits_order(tmp_path: Path) -> None:
    def endpoint(**env: str) -> str:
        return found(tmp_path, **env).endpoint

    config(tmp_path, "admin: {endpoint: yaml}")
    assert endpoint() == "yaml"
    config(tmp_path, "[platform]\nurl = ini\n", "config")
    assert endpoint() == "ini"
    (tmp_path / "flytekit.config").write_text("[platform]\nurl = here\n")
    assert endpoint() == "here"
    (tmp_path / "other.yml").write_text("admin: {endpoint: chosen}")
    assert endpoint(FLYTECTL_CONFIG="other.yml") == "chosen"
    assert endpoint(FLYTECTL_CONFIG="other.yml", FLYTE_PLATFORM_URL="variable") == "variable"
    assert found(tmp_path, "given", FLYTE_PLATFORM_URL="variable").endpoint == "given"


def test_a_variable_over_the_file(tmp_path: Path) -> None:
    config(tmp_path, "admin: {endpoint: 'localhost:30080', insecure: true, authType: Pkce}")
    env = {"FLYTE_PLATFORM_INSECURE": "off", "FLYTE_CREDENTIALS_AUTH_MODE": "DeviceFlow"}
    settings = found(tmp_path, **env)
    assert (settings.insecure, settings.login) == (False, "DeviceFlow")


def test_what_was_written_for_another_server_does_not_count(tmp_path: Path) -> None:
    config(
        tmp_path,
        "admin: {endpoint: 'dns:///localhost:30080', insecure: true, clientId: me}",
    )
    other = found(tmp_path, "flyte.example.com")
    assert (other.insecure, other.client_id) == (False, None)
    same = found(tmp_path, "localhost:30080")
    assert (same.insecure, same.client_id) == (True, "me")
    assert found(tmp_path, "https://localhost:30080").insecure is False
    variables = {
        "FLYTE_PLATFORM_URL": "one.example.com",
        "FLYTE_CREDENTIALS_CLIENT_SECRET": "secret",
    }
    assert found(tmp_path, "two.example.com", **variables).client_secret is None
    assert found(tmp_path, "one.example.com", **variables).client_secret == "secret"


def test_a_secret_of_its_own_means_to_log_in_with_it(tmp_path: Path) -> None:
    config(tmp_path, "admin: {endpoint: e, clientSecretEnvVar: SECRET, authType: Pkce}")
    assert found(tmp_path).login == "Pkce"
    with_secret = found(tmp_path, SECRET="s3cret")
    assert (with_secret.login, with_secret.client_secret) == ("ClientSecret", "s3cret")
    config(tmp_path, "admin: {endpoint: e, clientSecretLocation: /etc/secret}")
    by_file = found(tmp_path)
    assert (by_file.login, by_file.client_secret_file) == ("ClientSecret", Path("/etc/secret"))


def test_a_plugin_of_flytekit_keeps_its_name(tmp_path: Path) -> None:
    assert found(tmp_path, "e", FLYTE_CREDENTIALS_AUTH_MODE="gcp_id_token").login == "gcp_id_token"


def test_a_token(tmp_path: Path) -> None:
    assert found(tmp_path, "e", MFBUILD_FLYTE_TOKEN=" abc.def\n").token == "abc.def"
    assert found(tmp_path, "e", MFBUILD_FLYTE_TOKEN="").token is None
    with pytest.raises(UsageError) as caught:
        find(tmp_path, "e", MFBUILD_FLYTE_TOKEN="abc\ndef")
    assert str(caught.value) == "`MFBUILD_FLYTE_TOKEN` holds something that is not a token"


def test_no_secret_in_a_repr(tmp_path: Path) -> None:
    secrets: Mapping[str, str] = {
        "MFBUILD_FLYTE_TOKEN": "secret-1",
        "FLYTE_CREDENTIALS_CLIENT_SECRET": "secret-2",
        "FLYTE_CREDENTIALS_COMMAND": "echo,secret-3",
        "FLYTE_CREDENTIALS_PROXY_COMMAND": "echo,secret-4",
        "FLYTE_PLATFORM_HTTP_PROXY_URL": "http://me:secret-5@proxy",
    }
    settings = found(tmp_path, "e", **secrets)
    assert settings.command == ("echo", "secret-3")
    assert "secret-" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "text", "message", "line"),
    [
        ("config.yaml", "admin: [\nsecret", "`config.yaml` cannot be read: ParserError", ":2"),
        ("config.yaml", "admin: \x00", "`config.yaml` cannot be read: ReaderError", ""),
        ("config", "secret\n", "`config` cannot be read: MissingSectionHeaderError", ":1"),
        ("config.yaml", "[admin]", "`admin` must be a table", ""),
        ("config.yaml", "admin: x", "`admin` must be a table", ""),
        ("config.yaml", "admin: {insecure: perhaps}", "`admin.insecure` must be true or false", ""),
        ("config.yaml", "admin: {scopes: {a: 1}}", "`admin.scopes` must be a list of strings", ""),
        ("config.yaml", "admin: {clientId: 1}", "`admin.clientId` must be a string", ""),
        (
            "config.yaml",
            "admin: {endpoint: 'a b'}",
            "`admin.endpoint` must be like `dns:///flyte.example.com:443`, not `a b`",
            "",
        ),
        ("config", "[platform]\ninsecure = 2\n", "`platform.insecure` must be true or false", ""),
    ],
)
def test_a_file_that_is_wrong(
    tmp_path: Path, name: str, text: str, message: str, line: str
) -> None:
    path = config(tmp_path, text, name)
    with pytest.raises(UsageError) as caught:
        find(tmp_path, "e")
    [problem] = caught.value.problems
    assert (problem.message, problem.where) == (message, f"{path}{line}")


def test_all_problems_of_a_file_at_once(tmp_path: Path) -> None:
    config(tmp_path, "admin: {insecure: 3, command: 4}")
    with pytest.raises(UsageError) as caught:
        find(tmp_path)
    assert [p.message for p in caught.value.problems] == [
        "`admin.insecure` must be true or false",
        "`admin.command` must be a list of strings",
    ]


def test_a_variable_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`FLYTE_PLATFORM_INSECURE` must be true or false"):
        find(tmp_path, FLYTE_PLATFORM_INSECURE="2")
    with pytest.raises(UsageError, match="`FLYTECTL_CONFIG` names `gone`, which is not a file"):
        find(tmp_path, FLYTECTL_CONFIG="gone")


def test_a_command_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find(tmp_path, "e", FLYTE_CREDENTIALS_AUTH_MODE="external_process")
    [problem] = caught.value.problems
    assert problem.message == "`e` wants `ExternalCommand`, but no command is set"
    assert problem.hint == "set `admin.command`, or FLYTE_CREDENTIALS_COMMAND"
