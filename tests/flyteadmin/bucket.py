"""A bucket on the loopback that takes uploads by signed URLs, as strictly as S3."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.flyteadmin.faults import PUT, Call, Cut, Faults
from tests.flyteadmin.refusals import Refused
from tests.servers import Handler, serving

METADATA = "x-amz-meta-flyteContentMD5"


@dataclass(frozen=True)
class Object:
    """What was put: its bytes, and the MD5 that its metadata names, if any."""

    data: bytes
    content_md5: str = ""

    @property
    def etag(self) -> str:
        """As S3 makes it of an object that came in one part."""
        return hashlib.md5(self.data).hexdigest()


class Bucket(Protocol):
    """Where uploads go."""

    @property
    def name(self) -> str: ...

    def signed_url(self, key: str, content_md5: str, seconds: float, *, metadata: bool) -> str:
        """The URL at which a client may put `key`, once or often, for so long."""

    def head(self, key: str) -> Object | None:
        """What is at `key`."""


@dataclass
class LoopbackBucket:
    """A bucket in memory behind an HTTP server."""

    origin: str
    faults: Faults
    name: str = "flyte"
    objects: dict[str, Object] = field(default_factory=dict)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def signed_url(self, key: str, content_md5: str, seconds: float, *, metadata: bool) -> str:
        headers = "content-md5" if content_md5 else ""
        if metadata:
            headers += f";{METADATA.lower()}"
        expires = f"{time.time() + seconds:.3f}"
        signature = self._signature(key, content_md5, headers, expires)
        query = f"expires={expires}&headers={quote(headers)}&signature={signature}"
        return f"{self.origin}/{self.name}/{quote(key)}?{query}"

    def head(self, key: str) -> Object | None:
        return self.objects.get(key)

    def put(self, url: str, headers: Any, data: bytes) -> tuple[int, str]:
        """Take an upload: the status and S3's code, 200 or why not."""
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        key = unquote(parts.path).removeprefix(f"/{self.name}/")
        md5 = headers.get("Content-MD5", "")
        signed = query.get("headers", "")
        expected = self._signature(key, md5, signed, query.get("expires", ""))
        if not hmac.compare_digest(expected, query.get("signature", "")):
            return 403, "SignatureDoesNotMatch"
        if METADATA.lower() in signed and headers.get(METADATA, "") != md5:
            return 403, "SignatureDoesNotMatch"
        if float(query["expires"]) < time.time():
            return 403, "AccessDenied"
        if md5 and base64.b64encode(hashlib.md5(data).digest()).decode() != md5:
            return 400, "BadDigest"
        self.objects[key] = Object(data, headers.get(METADATA, ""))
        return 200, ""

    def _signature(self, key: str, content_md5: str, headers: str, expires: str) -> str:
        signed = "\n".join(("PUT", self.name, key, content_md5, headers, expires))
        return hmac.new(self.secret, signed.encode(), hashlib.sha256).hexdigest()


Post = Callable[[str, Any, bytes], tuple[int, bytes]]
"""Answers a POST, by path, headers and body: status and JSON."""


@contextmanager
def loopback_bucket(
    faults: Faults, post: Post, context: ssl.SSLContext | None = None
) -> Iterator[LoopbackBucket]:
    """Run the bucket's server, over TLS with a `context`; it answers POST as `post` says."""

    class Connection(_Handler):
        answer_post = staticmethod(post)

    with serving(Connection, context) as host:
        url = f"{'https' if context else 'http'}://{host}"
        Connection.bucket = LoopbackBucket(url, faults)
        yield Connection.bucket


class _Handler(Handler):
    protocol_version = "HTTP/1.1"
    bucket: LoopbackBucket
    answer_post: Post

    def do_PUT(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            self._reply(501, b"NotImplemented")
            self.close_connection = True
            return
        if "Content-Length" not in self.headers:
            self._reply(411, b"MissingContentLength")
            self.close_connection = True
            return
        data = self.rfile.read(int(self.headers["Content-Length"]))
        call = Call(
            PUT,
            self.path,
            lambda: self.bucket.put(self.path, self.headers, data),
            self._cut,
        )
        with suppress(Cut):
            try:
                status, code = self.bucket.faults.answer(call)
            except Refused as refused:
                status, code = 503, refused.message
            self._reply(status, code.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._reply(*self.answer_post(self.path, self.headers, body))

    def do_GET(self) -> None:
        self._reply(405, b"MethodNotAllowed")

    do_HEAD = do_DELETE = do_GET

    def _cut(self) -> None:
        """Close with a reset, as when a machine dies."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
