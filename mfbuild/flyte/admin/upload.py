"""Files into Flyte's bucket through DataProxyService: each once, by the digest of its content."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from flyteidl.service.dataproxy_pb2 import (
    CreateUploadLocationRequest,
    CreateUploadLocationResponse,
)

from mfbuild.errors import FlyteError
from mfbuild.flyte.admin.client import Client
from mfbuild.flyte.admin.failures import Refusal
from mfbuild.http.errors import Passing, RequestError, StatusError

EXPIRED = 403
"""What a bucket answers to an address that was signed too long ago; a new one may do."""

_EXISTS = re.compile(r"already exists at location \[([^\]\s]+)\]")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s#\x00-\x1f\x7f]+")
"""What is inside a bucket; without a fragment, which is the digest's place."""

_S3_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


def upload(client: Client, project: str, domain: str, name: str, data: bytes) -> str:
    """The URL of `data` in Flyte's bucket, as `Registrations.upload` says.

    flyteadmin lets whoever knows a file's MD5 write it again. So it is asked without one first,
    and answers that the file is there; a URL without MD5 is signed for any content, so the file
    is sent to one of a second call.
    """
    request = CreateUploadLocationRequest(
        project=project,
        domain=domain,
        filename=name,
        filename_root=hashlib.sha256(data).hexdigest(),
    )
    location = _locate(client, request)
    if isinstance(location, str):
        return location
    request.content_md5 = hashlib.md5(data, usedforsecurity=False).digest()

    def attempt() -> str:
        location = _locate(client, request)
        if not isinstance(location, str):
            _put(client, location, request.content_md5, name, data)
            return str(location.native_url)
        return location

    try:
        return client.http.persist(attempt, lambda n: None)
    except Passing as failure:
        raise FlyteError(failure.reason) from None


def _locate(
    client: Client, request: CreateUploadLocationRequest
) -> CreateUploadLocationResponse | str:
    """Where to send the file; its URL if it is there already.

    FlyteError for a URL that is none: a version that was registered with it could never run.
    """
    doing = f"take the file `{request.filename}`"
    found: CreateUploadLocationResponse | str
    try:
        found = client.call(client.data.CreateUploadLocation, request, doing)
    except Refusal as refusal:
        exists = _EXISTS.search(refusal.words)
        if refusal.code != "ALREADY_EXISTS" or exists is None:
            raise
        found = exists[1]
    if not _URL.fullmatch(found if isinstance(found, str) else found.native_url):
        name = f"`{client.settings.endpoint}`"
        raise FlyteError(f"{name} gives an address that is none for the file `{request.filename}`")
    return found


def _headers(location: CreateUploadLocationResponse, md5: bytes) -> Mapping[str, str]:
    headers = {name.lower(): value for name, value in location.headers.items()}
    # flyteadmin gives the length of the MD5's text (stow's s3/container.go).
    headers.pop("content-length", None)
    return headers | {"content-md5": base64.b64encode(md5).decode()}


def _put(
    client: Client, location: CreateUploadLocationResponse, md5: bytes, name: str, data: bytes
) -> None:
    """Send a file; FlyteError, or Passing with its message. Neither shows the address, a secret."""
    url, headers = location.signed_url, _headers(location, md5)
    host = _host(url)
    bucket = f"`{host}`, Flyte's bucket," if host else "Flyte's bucket"
    failed = f"{bucket} does not take the file `{name}`: "
    try:
        client.http.open("PUT", url, headers=headers, body=data, follow=False).close()
    except StatusError as error:
        kind = Passing if error.status == EXPIRED else FlyteError
        raise kind(f"{failed}{_said(error)}") from None
    except RequestError as error:
        raise FlyteError(f"{failed}it {error.reason}", hint=error.hint) from None
    except Passing as failure:
        answer = failure.__cause__
        reason = _said(answer) if isinstance(answer, StatusError) else f"it {failure.reason}"
        raise Passing(f"{failed}{reason}", failure.after) from None


def _said(error: StatusError) -> str:
    code = _S3_CODE.search(error.body)
    return f"`{error.status}`{f' {code[1].decode()}' if code else ''}"


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
