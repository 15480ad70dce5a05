"""DataProxy: where a client may upload to."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import Any

from flyteidl.service.dataproxy_pb2 import CreateUploadLocationResponse
from grpc import StatusCode

from tests.flyteadmin.bucket import METADATA, Bucket, Object
from tests.flyteadmin.refusals import Refused, invalid
from tests.flyteadmin.state import now

LONGEST = timedelta(hours=1)
_RANDOM_NAME = 20


def create_upload_location(bucket: Bucket, request: Any) -> CreateUploadLocationResponse:
    """CreateUploadLocation.

    The path is `[<org>/]<project>/<domain>/<filename_root, else MD5 in base32>/<filename>`. Where
    the request names all of it, an object that is there already has to have the MD5 of the request.
    """
    if not request.project or not request.domain:
        raise invalid("project and domain are required parameters")
    if not request.filename_root and not request.content_md5:
        raise invalid("content_md5 or filename_root is a required parameter")
    root = request.filename_root or base64.b32encode(request.content_md5).decode()
    filename = request.filename or secrets.token_hex(_RANDOM_NAME // 2)
    parts = (request.org, request.project, request.domain, root, filename)
    key = "/".join(part for part in parts if part)
    url = f"s3://{bucket.name}/{key}"
    if request.filename and request.filename_root:
        _check_absent(bucket.head(key), url, request.content_md5)
    lasts = _lasts(request)
    digest = base64.b64encode(request.content_md5).decode()
    # The length is the digest's, not the content's: flyteorg/stow, s3/container.go.
    headers = {"Content-Length": str(len(digest)), "Content-MD5": digest}
    if request.add_content_md5_metadata:
        headers[METADATA] = digest
    expires = now()
    expires.FromDatetime(expires.ToDatetime() + lasts)
    return CreateUploadLocationResponse(
        signed_url=bucket.signed_url(
            key, digest, lasts.total_seconds(), metadata=request.add_content_md5_metadata
        ),
        native_url=url,
        expires_at=expires,
        headers=headers,
    )


def _lasts(request: Any) -> timedelta:
    if not request.HasField("expires_in"):
        return LONGEST
    asked: timedelta = request.expires_in.ToTimedelta()
    if asked > LONGEST:
        raise invalid(f"expiresIn [{asked}] cannot exceed max allowed expiration [1h0m0s]")
    return asked


def _check_absent(found: Object | None, url: str, content_md5: bytes) -> None:
    if found is None:
        return
    encoded = base64.b64encode(content_md5).decode()
    there = found.content_md5 or found.etag
    known = {encoded} if found.content_md5 else {encoded, content_md5.hex()}
    if not content_md5 or there not in known:
        raise Refused(
            StatusCode.ALREADY_EXISTS,
            f"file already exists at location [{url}], specify a matching hash if you wish to "
            "rewrite",
        )
