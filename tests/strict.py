"""A registry in memory after the letter of the distribution-spec, which can take up uploads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import parse_qs, urlsplit

from mfbuild.engine.model import Digest
from tests.registry import Answer, Request

_PATH = re.compile(r"/v2/team/repo/(manifests|blobs|blobs/uploads)/([^/]*)")


@dataclass
class StrictRegistry:
    """One repository, `team/repo`. Addresses of uploads are relative, as the spec permits.

    `forgetful`: an upload that was interrupted is unknown afterwards.
    """

    forgetful: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    names: Iterator[int] = field(default_factory=count)

    def __call__(self, request: Request) -> Answer:
        address = urlsplit(request.path)
        found = _PATH.fullmatch(address.path)
        if not found:
            return Answer(404)
        kind, name = found.groups()
        if kind == "blobs/uploads":
            return self.upload(request, name, parse_qs(address.query))
        held = self.blobs if kind == "blobs" else self.manifests
        if request.method == "PUT":
            held[name] = held[str(Digest.of(request.body))] = request.body
            return Answer(201)
        return Answer(200, held[name]) if name in held else Answer(404)

    def upload(self, request: Request, name: str, query: dict[str, list[str]]) -> Answer:
        if request.method == "POST":
            name = str(next(self.names))
            self.uploads[name] = b""
            return Answer(202, headers={"Location": f"./{name}?state=a%2Fb"})
        if name not in self.uploads or query.get("state") != ["a/b"]:
            return Answer(404)
        there = self.uploads[name]
        status = {"Location": f"{name}?state=a%2Fb"}
        if there:
            status["Range"] = f"0-{len(there) - 1}"
        if request.method == "GET":
            return Answer(204, headers=status)
        start = int(request.headers.get("Content-Range", "0-").partition("-")[0])
        if request.body and start != len(there):
            return Answer(416, headers=status)
        self.uploads[name] += request.body
        if len(request.body) < int(request.headers["Content-Length"]):
            if self.forgetful:
                del self.uploads[name]
            return Answer(400)  # which nobody hears: the connection is broken
        if request.method == "PATCH":
            return Answer(202, headers=status)
        return self.commit(name, query["digest"][0])

    def commit(self, name: str, digest: str) -> Answer:
        data = self.uploads.pop(name)
        if str(Digest.of(data)) != digest:
            return Answer(400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}')
        self.blobs[digest] = data
        return Answer(201, headers={"Location": f"/v2/team/repo/blobs/{digest}"})
