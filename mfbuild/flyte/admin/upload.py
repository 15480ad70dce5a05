"""Files into Flyte's bucket through DataProxyService: each once, by the digest of its content."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from flyteidl.service.dataproxy_pb2 import (
    CreateUploadLocationRequest,
    CreateUploadLocationResponse,
)

from mfbuild.errors import FlyteError
from mfbuild.flyte.admin.client import ATTEMPTS, Client
from mfbuild.flyte.admin.failures import Refusal
from mfbuild.flyte.settings import Settings
from mfbuild.oci.access import ca_bundle

T = TypeVar("T")

PASSING = (403, 408, 425, 429, 500, 502, 503, 504)
"""Answers of a bucket after which a new address may do; an expired one is answered with 403."""

TIMEOUT = (15.0, 120.0)
"""Seconds to connect, and to wait while nothing moves."""

_LOCAL = ("localhost", "127.0.0.1", "::1")
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
    attempt = 1
    while True:
        location = _locate(client, request)
        if isinstance(location, str):
            return location
        headers = _headers(location, request.content_md5)
        failure = _put(location.signed_url, headers, data, client.settings)
        if failure is None:
            return str(location.native_url)
        if failure.is_final or attempt == ATTEMPTS:
            host = _host(location.signed_url)
            bucket = f"`{host}`, Flyte's bucket," if host else "Flyte's bucket"
            raise FlyteError(f"{bucket} does not take the file `{name}`: {failure.reason}")
        client.pause(attempt)
        attempt += 1


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


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    is_final: bool = False


def _put(url: str, headers: Mapping[str, str], data: bytes, settings: Settings) -> _Failure | None:
    """Send a file. The address is secret, and the text of an exception would show it."""
    import requests
    import urllib3

    verify: bool | str | None = str(settings.ca_cert_file) if settings.ca_cert_file else None
    if verify is None and url.startswith("https:"):
        verify = ca_bundle(os.environ)
    if settings.insecure_skip_verify:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        verify = False
    local = _host(url) in _LOCAL
    try:
        response = requests.put(
            url,
            data=data,
            headers=headers,
            timeout=TIMEOUT,
            allow_redirects=False,
            auth=_as_it_is,
            proxies={"no_proxy": ",".join(_LOCAL)} if local else None,
            verify=verify,
        )
    except requests.exceptions.SSLError:
        return _Failure("its TLS certificate is not accepted", is_final=True)
    except requests.Timeout:
        return _Failure("it did not answer in time")
    except requests.ConnectionError:
        return _Failure("it could not be reached, or broke the connection")
    except (requests.RequestException, ValueError) as error:
        # Addresses and headers that cannot be sent; not all of them are checked by requests.
        return _Failure(type(error).__name__, is_final=True)
    if response.status_code in (200, 201):
        return None
    code = _S3_CODE.search(response.content[:4096])
    reason = f"`{response.status_code}`{f' {code[1].decode()}' if code else ''}"
    return _Failure(reason, is_final=response.status_code not in PASSING)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _as_it_is(request: T) -> T:
    """Keeps requests from adding a password of ~/.netrc to a signed address."""
    return request
