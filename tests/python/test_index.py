"""How uv's and pip's settings are read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mfbuild.errors import UsageError
from mfbuild.python.index import IndexSettings, read_settings, redact, without_credentials

PIP = "https://pip.example/simple"
UV = "https://uv.example/simple"


def read(home: Path, **environ: str) -> IndexSettings:
    alone = {"HOME": str(home), "XDG_CONFIG_DIRS": str(home / "xdg"), "PIP_CONFIG_FILE": os.devnull}
    return read_settings(home, {**alone, **environ})


def pip_conf(home: Path, text: str) -> dict[str, str]:
    path = home / "pip.conf"
    path.write_text(text)
    return {"PIP_CONFIG_FILE": str(path)}


def test_without_any_setting_uv_is_left_alone(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert not [name for name in settings.environ if name.startswith("UV_")]
    assert settings.flags == () and settings.indexes == ()


def test_what_pip_is_told_is_told_to_uv(tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    settings = read(
        tmp_path,
        PIP_INDEX_URL=PIP,
        PIP_EXTRA_INDEX_URL="https://a.example/simple https://b.example/simple",
        PIP_FIND_LINKS=f"{links} {tmp_path}/missing https://c.example/links",
        PIP_CERT="/certs/ours.pem",
        PIP_NO_INDEX="1",
        PIP_KEYRING_PROVIDER="subprocess",
    )
    told = {k: v for k, v in settings.environ.items() if k.startswith(("UV_", "SSL"))}
    assert told == {
        "UV_DEFAULT_INDEX": PIP,
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_FIND_LINKS": f"{links},https://c.example/links",
        "UV_KEYRING_PROVIDER": "subprocess",
        "SSL_CERT_FILE": "/certs/ours.pem",
    }
    assert settings.flags == ("--no-index",)
    assert settings.keyring


def test_find_links_folders_that_are_missing_are_passed_over(tmp_path: Path) -> None:
    settings = read(tmp_path, PIP_FIND_LINKS=str(tmp_path / "missing"))
    assert "UV_FIND_LINKS" not in settings.environ


def test_pip_conf_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    conf = pip_conf(
        tmp_path,
        f"[global]\nindex-url = {PIP}\nextra-index-url =\n  https://a.example/x\n"
        "  https://b.example/x\n[install]\nindex_url = https://install.example/simple\n",
    )
    settings = read(tmp_path, **conf)
    assert settings.environ["UV_DEFAULT_INDEX"] == "https://install.example/simple"
    assert settings.environ["UV_INDEX"] == "https://a.example/x https://b.example/x"
    overridden = read(tmp_path, **conf, PIP_INDEX_URL=PIP)
    assert overridden.environ["UV_DEFAULT_INDEX"] == PIP


def test_the_pip_conf_of_the_person_is_read(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "pip"
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text(f"[global]\nindex-url = {PIP}\n")
    settings = read_settings(tmp_path, {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)})
    assert settings.environ["UV_DEFAULT_INDEX"] == PIP


@pytest.mark.parametrize(
    "environ", [{"UV_DEFAULT_INDEX": UV}, {"UV_INDEX_URL": UV}, {"UV_DEFAULT_INDEX": f"name={UV}"}]
)
def test_an_index_of_uv_wins_over_one_of_pip(tmp_path: Path, environ: dict[str, str]) -> None:
    settings = read(tmp_path, PIP_INDEX_URL=PIP, **environ)
    assert PIP not in [settings.environ.get(k) for k in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.toml", f'index-url = "{UV}"'),
        ("uv.toml", f'[pip]\nindex-url = "{UV}"'),
        ("uv.toml", f'[[index]]\nurl = "{UV}"\ndefault = true'),
        ("pyproject.toml", f'[tool.uv]\nindex-url = "{UV}"'),
        (".config/uv/uv.toml", f'index-url = "{UV}"'),
        ("xdg/uv/uv.toml", f'index-url = "{UV}"'),
    ],
)
def test_a_file_of_uv_wins_over_pip(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    settings = read(tmp_path, PIP_INDEX_URL=PIP)
    assert "UV_DEFAULT_INDEX" not in settings.environ
    assert UV in settings.indexes
    assert "UV_DEFAULT_INDEX" in read(tmp_path, PIP_INDEX_URL=PIP, UV_NO_CONFIG="1").environ


def test_a_project_above_the_workspace_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.uv]\nextra-index-url = ["{UV}"]')
    inner = tmp_path / "flows" / "deep"
    inner.mkdir(parents=True)
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": PIP}
    settings = read_settings(inner, environ)
    assert "UV_INDEX" not in settings.environ


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    conf = pip_conf(tmp_path, "index-url = no section\n")
    with pytest.raises(UsageError) as caught:
        read(tmp_path, **conf)
    assert caught.value.problems[0].where == conf["PIP_CONFIG_FILE"]
    (tmp_path / "uv.toml").write_text("index-url = ")
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert caught.value.problems[0].where == str(tmp_path / "uv.toml")


@pytest.mark.parametrize("text", ['index-url = "http://x.invalid/\\u0000"', "a = " + "[" * 5000])
def test_what_uv_itself_could_not_be_told_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "uv.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert caught.value.problems[0].where == str(tmp_path / "uv.toml")
    (tmp_path / "uv.toml").unlink()
    with pytest.raises(UsageError, match="the character NUL"):
        read(tmp_path, **pip_conf(tmp_path, "[global]\nindex-url = http://x.invalid/\0\n"))


def test_credentials_belong_to_scheme_host_and_port(tmp_path: Path) -> None:
    settings = read(tmp_path, UV_DEFAULT_INDEX="https://me:p%40ss@one.example/simple")
    assert settings.credentials("https://one.example/files/x.whl") == ("me", "p@ss")
    assert settings.credentials("https://one.example:443/files/x.whl") == ("me", "p@ss")
    for other in ("http://one.example/x", "https://one.example:8443/x", "https://two.example/x"):
        assert settings.credentials(other) is None


def test_the_nearest_index_of_a_host_gives_the_credentials(tmp_path: Path) -> None:
    urls = "https://a:1@one.example/team-a/simple https://b:2@one.example/team-b/simple"
    settings = read(tmp_path, UV_INDEX=urls)
    assert settings.credentials("https://one.example/team-b/files/x.whl") == ("b", "2")
    assert settings.credentials("https://one.example/team-a/files/x.whl") == ("a", "1")


def test_a_named_index_has_its_credentials_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text(f'[[index]]\nname = "our-index"\nurl = "{UV}"')
    settings = read(tmp_path, UV_INDEX_OUR_INDEX_USERNAME="me", UV_INDEX_OUR_INDEX_PASSWORD="s/1")
    assert settings.credentials("https://uv.example/f") == ("me", "s/1")
    inline = read(tmp_path, UV_INDEX=f"mine={PIP}", UV_INDEX_MINE_PASSWORD="t")
    assert inline.credentials("https://pip.example/f") == ("", "t")


def test_netrc_gives_what_no_index_has(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine one.example login me password secret\n")
    path.chmod(stat.S_IRUSR)
    settings = read(tmp_path, NETRC=str(path))
    assert settings.credentials("https://one.example/x") == ("me", "secret")
    assert settings.credentials("https://two.example/x") is None


def test_the_keyring_gives_the_password_of_a_user(tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "keyring"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$*" = "get one.example me" ] && echo from-keyring\n')
    tool.chmod(0o755)
    environ = {"UV_DEFAULT_INDEX": "https://me@one.example/simple", "PATH": f"{tool.parent}:/bin"}
    asked = read(tmp_path, UV_KEYRING_PROVIDER="subprocess", **environ)
    assert asked.credentials("https://one.example/x") == ("me", "from-keyring")
    assert read(tmp_path, **environ).credentials("https://one.example/x") == ("me", "")


def test_the_certificates_of_the_machine_are_honoured(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert read(tmp_path, SSL_CERT_FILE=str(bundle)).trust().verify() == str(bundle)
    assert read(tmp_path, PIP_CERT=str(bundle)).trust().verify() == str(bundle)
    both = read(tmp_path, REQUESTS_CA_BUNDLE=str(bundle), SSL_CERT_FILE="/missing.pem")
    assert both.trust().verify() == str(bundle)
    assert read(tmp_path, SSL_CERT_FILE="/missing.pem").trust().verify() is True


def test_settings_do_not_show_credentials(tmp_path: Path) -> None:
    settings = read(tmp_path, UV_DEFAULT_INDEX="https://me:secret@one.example/simple")
    assert "secret" not in repr(settings)


def test_an_index_that_is_no_address_is_left_to_uv(tmp_path: Path) -> None:
    settings = read(tmp_path, UV_INDEX="http://[ https://me:p@one.example:x/ ./folder")
    assert settings.indexes == ()


def test_text_is_shown_without_credentials() -> None:
    assert redact("at https://me:p@one.example/x and https://tok@two.example") == (
        "at https://***@one.example/x and https://***@two.example"
    )
    assert redact("pandas @ https://one.example/a@b") == "pandas @ https://one.example/a@b"
    assert without_credentials("https://me:p@one.example:8/x#sha256=1") == "https://one.example:8/x"
