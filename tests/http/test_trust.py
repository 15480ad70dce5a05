"""Which authorities are believed, by every client alike."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mfbuild.errors import UsageError
from mfbuild.http.trust import Trust


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    (tmp_path / "ca.pem").touch()
    return str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    "name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]
)
def test_each_variable_names_them(bundle: str, name: str) -> None:
    assert Trust({name: bundle}).verify() == bundle
    assert Trust({}).verify() is True


def test_the_first_of_them_counts(bundle: str, tmp_path: Path) -> None:
    others = {"SSL_CERT_FILE": str(tmp_path), "SSL_CERT_DIR": str(tmp_path)}
    assert Trust({"REQUESTS_CA_BUNDLE": bundle, **others}).verify() == bundle
    assert Trust({"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": bundle, **others}).verify() == bundle


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_file_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Trust({name: "/missing.pem"}).verify()
    assert str(caught.value) == f"`{name}` names `/missing.pem`, which is not there"


def test_what_openssl_would_not_find_is_left_out(bundle: str) -> None:
    assert Trust({"SSL_CERT_FILE": "/missing.pem"}).verify() is True
    assert Trust({"SSL_CERT_FILE": "/missing.pem", "SSL_CERT_DIR": bundle}).verify() == bundle


def test_a_file_of_the_settings_goes_first(bundle: str, tmp_path: Path) -> None:
    assert Trust({"REQUESTS_CA_BUNDLE": bundle}, file=tmp_path).verify() == str(tmp_path)
    assert Trust({"REQUESTS_CA_BUNDLE": bundle}, file=tmp_path, anybody=True).verify() is False


def test_the_systems_own(bundle: str) -> None:
    system = ssl.get_default_verify_paths()
    own = system.cafile or system.capath
    assert Trust({}, system=True).verify() == (own or True)
    assert Trust({"SSL_CERT_FILE": bundle}, system=True).verify() == bundle


def test_it_shows_no_environment() -> None:
    assert "secret" not in repr(Trust({"MFBUILD_FLYTE_TOKEN": "secret"}))
