"""Files into Flyte's bucket: once each, whole, by an address that nobody sees."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from mfbuild.errors import FlyteError
from tests.cluster.handmade import DOMAIN, PROJECT
from tests.flyte.admin import Place, place
from tests.flyteadmin.double import Double, flyteadmin
from tests.flyteadmin.faults import PUT, Fault, answer, cut, lie

DATA = os.urandom(100_000)
SHA = hashlib.sha256(DATA).hexdigest()
URL = f"s3://flyte/{PROJECT}/{DOMAIN}/{SHA}/code.tgz"


@pytest.fixture
def flyte(tmp_path: Path) -> Iterator[Place]:
    with flyteadmin(tmp_path, projects=(PROJECT,), domains=(DOMAIN,)) as double:
        yield place(double)


def upload(flyte: Place, data: bytes = DATA) -> str:
    return flyte.registrations.upload(PROJECT, DOMAIN, "code.tgz", data)


def test_a_file_is_uploaded_once(flyte: Place) -> None:
    assert upload(flyte) == URL
    assert flyte.double.uploaded(URL) == DATA
    assert dict(flyte.double.calls) == {"CreateUploadLocation": 2, PUT: 1}
    flyte.double.calls.clear()
    assert upload(flyte) == URL
    assert dict(flyte.double.calls) == {"CreateUploadLocation": 1}


def test_an_empty_file(flyte: Place) -> None:
    assert flyte.double.uploaded(upload(flyte, b"")) == b""


def test_what_somebody_else_put_there_meanwhile_is_left(flyte: Place) -> None:
    """Whoever reads it checks the digest that its address ends with."""
    key = URL.removeprefix("s3://flyte/")

    def appear(call: Any) -> Any:
        response = call.perform()
        flyte.double.bucket.put(*forged(flyte.double, key))  # type: ignore[attr-defined]
        return response

    flyte.double.faults.add("CreateUploadLocation", appear)
    assert upload(flyte) == URL
    assert flyte.double.uploaded(URL) == b"other"


def forged(double: Double, key: str) -> tuple[str, dict[str, str], bytes]:
    """An upload of other bytes under a key, by an address without MD5."""
    url = double.bucket.signed_url(key, "", 60, metadata=False)
    return url, {}, b"other"


FAULTS: dict[str, Fault] = {
    "cut before": cut(),
    "cut after": cut(after=True),
    "503 before": answer(StatusCode.UNAVAILABLE),
    "503 after": answer(StatusCode.UNAVAILABLE, after=True),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize(
    ("rpc", "call"), [("CreateUploadLocation", 1), ("CreateUploadLocation", 2), (PUT, 1)]
)
def test_a_fault_that_passes(flyte: Place, name: str, rpc: str, call: int) -> None:
    flyte.double.faults.add(rpc, FAULTS[name], call=call)
    assert upload(flyte) == URL
    assert flyte.double.uploaded(URL) == DATA
    assert flyte.waited


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cut before", "it could not be reached, or broke the connection"),
        ("503 before", "`503`"),
    ],
)
def test_a_fault_that_stays(flyte: Place, name: str, reason: str) -> None:
    flyte.double.faults.always(PUT, FAULTS[name])
    with pytest.raises(FlyteError) as caught:
        upload(flyte)
    assert str(caught.value) == (
        f"`127.0.0.1`, Flyte's bucket, does not take the file `code.tgz`: {reason}"
    )
    assert flyte.double.calls[PUT] == 5
    assert 3.75 <= sum(flyte.waited) <= 11.25
    flyte.double.faults.always(PUT, None)
    assert upload(flyte) == URL


def answers(status: int, code: str) -> Fault:
    return lambda call: (status, f"<?xml?><Error><Code>{code}</Code><Key>secret</Key></Error>")


def test_an_answer_that_is_final(flyte: Place) -> None:
    flyte.double.faults.always(PUT, answers(400, "BadDigest"))
    with pytest.raises(FlyteError, match="`400` BadDigest") as caught:
        upload(flyte)
    assert flyte.double.calls[PUT] == 1
    assert "secret" not in str(caught.value)


def test_an_address_that_has_expired(flyte: Place) -> None:
    flyte.double.faults.add(PUT, answers(403, "AccessDenied"))
    assert upload(flyte) == URL
    assert flyte.double.calls["CreateUploadLocation"] == 3


def test_a_bucket_that_redirects_gets_nothing(flyte: Place) -> None:
    flyte.double.faults.always(PUT, answers(307, "Temporary"))
    with pytest.raises(FlyteError, match="`307` Temporary"):
        upload(flyte)


def test_an_address_that_is_none(flyte: Place) -> None:
    def change(location: Any) -> None:
        location.signed_url = "ftp://bucket/secret"

    flyte.double.faults.add("CreateUploadLocation", lie(change), call=2)
    with pytest.raises(FlyteError, match=r"`code\.tgz`: it cannot be asked: InvalidURL") as e:
        upload(flyte)
    assert "secret" not in str(e.value)


def test_the_signed_address_is_shown_nowhere(
    flyte: Place, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    flyte.double.faults.always(PUT, cut())
    with pytest.raises(FlyteError) as caught:
        upload(flyte)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    shown = [str(caught.value), caplog.text, *capfd.readouterr()]
    assert not any("signature=" in text for text in shown)


def test_a_password_of_netrc_is_not_sent(
    flyte: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    sent: list[str] = []
    put = flyte.double.bucket.put  # type: ignore[attr-defined]

    def record(url: str, headers: Any, data: bytes) -> Any:
        sent.extend(headers.keys())
        return put(url, headers, data)

    monkeypatch.setattr(flyte.double.bucket, "put", record)
    assert upload(flyte) == URL
    assert "Content-MD5" in map(str.title, sent) or "content-md5" in sent
    assert "authorization" not in map(str.lower, sent)


def test_a_bucket_behind_an_authority_of_its_own(tmp_path: Path) -> None:
    with flyteadmin(tmp_path, projects=(PROJECT,), domains=(DOMAIN,), secure=True) as double:
        assert double.tls is not None
        known = place(double)
        known.settings = replace(known.settings, insecure=False, ca_cert_file=double.tls.authority)
        known.__post_init__()
        assert upload(known) == URL
        known.settings = replace(known.settings, insecure_skip_verify=True)
        known.__post_init__()
        assert upload(known, b"more").startswith("s3://flyte/")
