"""Uploads: where to, by which URL, and what the bucket takes."""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from flyteidl.service.dataproxy_pb2 import (
    CreateUploadLocationRequest,
    CreateUploadLocationResponse,
)
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from tests.cluster.build import program
from tests.cluster.namespace import listens, wait
from tests.cluster.propeller import Bucket
from tests.flyteadmin.double import Client, Double, flyteadmin
from tests.flyteadmin.entities import refusal
from tests.flyteadmin.faults import PUT, answer, cut
from tests.flyteadmin.s3 import s3_bucket

DATA = b"some code"
MD5 = hashlib.md5(DATA).digest()
ROOT = base64.b32encode(MD5).decode()


@pytest.fixture(params=["loopback", "versitygw"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Double]:
    """A double with each kind of bucket."""
    if request.param == "loopback":
        with flyteadmin(tmp_path) as double:
            yield double
        return
    if not program("versitygw").exists():
        pytest.skip("versitygw is not built (`scripts/test --cluster` builds it)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bucket = Bucket(f"http://127.0.0.1:{port}", secrets.token_hex(10), secrets.token_hex(20))
    (tmp_path / "s3" / bucket.name).mkdir(parents=True)
    server = subprocess.Popen(
        [program("versitygw"), "--port", f"127.0.0.1:{port}", "posix", tmp_path / "s3"],
        env={"ROOT_ACCESS_KEY": bucket.access_key, "ROOT_SECRET_KEY": bucket.secret_key},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait(lambda: listens(port), lambda: "versitygw does not listen")
        with flyteadmin(tmp_path, bucket=s3_bucket(bucket)) as double:
            yield double
    finally:
        server.terminate()
        server.wait()


def location(client: Client, **fields: Any) -> CreateUploadLocationResponse:
    asked = {"project": "p", "domain": "d"} | fields
    return client.data_proxy.CreateUploadLocation(CreateUploadLocationRequest(**asked))


def put(found: CreateUploadLocationResponse, data: bytes = DATA, **headers: str) -> int:
    """PUT, without the wrong length that the server gives; the status."""
    sent = {name: value for name, value in found.headers.items() if name != "Content-Length"}
    answer = requests.put(found.signed_url, data, headers=sent | headers, timeout=9)
    return answer.status_code


def test_content_comes_to_a_place_of_its_own(place: Double) -> None:
    with place.connect() as client:
        found = location(client, content_md5=MD5, filename="code.tar")
        assert found.native_url == f"s3://flyte/p/d/{ROOT}/code.tar"
        assert dict(found.headers) == {
            "Content-Length": "24",  # of the digest, as in flyteorg/stow
            "Content-MD5": base64.b64encode(MD5).decode(),
        }
        assert put(found) == 200
        assert place.uploaded(found.native_url) == DATA
        assert location(client, content_md5=MD5, filename="code.tar").native_url == (
            found.native_url
        )


def test_a_name_is_made_up_where_none_is_given(place: Double) -> None:
    with place.connect() as client:
        one, other = (location(client, content_md5=MD5).native_url for _ in range(2))
        assert one != other
        assert len(one) == len(f"s3://flyte/p/d/{ROOT}/") + 20


def test_a_named_place_takes_the_same_content_alone(place: Double) -> None:
    named = {"filename_root": "code", "filename": "code.tar"}
    with place.connect() as client:
        found = location(client, content_md5=MD5, **named)
        assert found.native_url == "s3://flyte/p/d/code/code.tar"
        assert put(found) == 200
        assert location(client, content_md5=MD5, **named).native_url == found.native_url
        refused = (
            StatusCode.ALREADY_EXISTS,
            "file already exists at location [s3://flyte/p/d/code/code.tar], specify a matching "
            "hash if you wish to rewrite",
        )
        request = CreateUploadLocationRequest(project="p", domain="d", **named)
        assert refusal(client.data_proxy.CreateUploadLocation, request) == refused
        request.content_md5 = hashlib.md5(b"other").digest()
        assert refusal(client.data_proxy.CreateUploadLocation, request) == refused


def test_the_digest_is_also_kept_beside_the_content(place: Double) -> None:
    named = {"filename_root": "code", "filename": "code.tar", "add_content_md5_metadata": True}
    with place.connect() as client:
        found = location(client, content_md5=MD5, **named)
        assert found.headers["x-amz-meta-flyteContentMD5"] == found.headers["Content-MD5"]
        assert put(found) == 200
        assert location(client, content_md5=MD5, **named).native_url == found.native_url


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"project": "", "content_md5": MD5}, "project and domain are required parameters"),
        ({}, "content_md5 or filename_root is a required parameter"),
        (
            {"content_md5": MD5, "expires_in": Duration(seconds=3601)},
            "expiresIn [1:00:01] cannot exceed max allowed expiration [1h0m0s]",
        ),
    ],
)
def test_what_is_refused(client: Client, fields: dict[str, Any], message: str) -> None:
    asked = CreateUploadLocationRequest(**({"project": "p", "domain": "d"} | fields))
    assert refusal(client.data_proxy.CreateUploadLocation, asked) == (
        StatusCode.INVALID_ARGUMENT,
        message,
    )


def test_the_bucket_takes_what_was_signed_and_nothing_else(place: Double) -> None:
    other = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with place.connect() as client:
        found = location(client, content_md5=MD5, filename="code.tar")
        assert put(found, b"other") == 400
        assert put(found, b"other", **{"Content-MD5": other}) == 403
        assert requests.put(found.signed_url, DATA, timeout=9).status_code == 403
        assert requests.get(found.signed_url, timeout=9).status_code in (403, 405)
        changed = CreateUploadLocationResponse(
            signed_url=found.signed_url.replace("code.tar", "other.tar"), headers=found.headers
        )
        assert put(changed) == 403
        with pytest.raises(KeyError):
            place.uploaded(found.native_url)


def test_a_url_expires(double: Double) -> None:
    url = double.bucket.signed_url("key", "", -1, metadata=False)
    assert requests.put(url, DATA, timeout=9).status_code == 403


def test_chunks_are_not_taken(client: Client) -> None:
    found = location(client, content_md5=MD5)
    headers = {"Content-MD5": found.headers["Content-MD5"]}
    answer = requests.put(found.signed_url, iter([DATA]), headers=headers, timeout=9)
    assert answer.status_code == 501


@pytest.mark.parametrize("after", [False, True])
def test_an_upload_is_cut(double: Double, client: Client, after: bool) -> None:
    found = location(client, content_md5=MD5, filename="code.tar")
    double.faults.add(PUT, cut(after=after))
    with pytest.raises(requests.ConnectionError):
        put(found)
    key = found.native_url.removeprefix("s3://flyte/")
    assert (double.bucket.head(key) is not None) == after
    double.faults.add(PUT, answer(StatusCode.UNAVAILABLE, "SlowDown"))
    assert [put(found), put(found)] == [503, 200]
    assert double.calls[PUT] == 3


def test_an_upload_lasts_an_hour(client: Client) -> None:
    found = location(client, content_md5=MD5)
    left = found.expires_at.ToDatetime(tzinfo=timezone.utc) - datetime.now(timezone.utc)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
