"""Registries for tests: Debian's docker-registry as it is, and one that misbehaves as told."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import Handler, daemon, serving

USER, PASSWORD = "someone", "secret-word"
_HTPASSWD = f"{USER}:$2b$04$JMEsGHL1zznHiEZ3KSJxfOrxbbDAnf0GIwOy8a4iz/nlUgIkuQ/4i\n"


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, and the authority that has to be trusted for it."""

    certificate: Path
    key: Path
    authority: Path


def certificate(folder: Path, address: str) -> Certificate:
    """A new certificate for an IP address, made by openssl, of an authority of its own."""
    folder.mkdir(parents=True)
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made = Certificate(folder / "cert.pem", folder / "cert.key", folder / "ca.pem")
    signed = ["-CA", str(made.authority), "-CAkey", f"{folder / 'ca.key'}", "-subj", "/CN=host"]
    named = ["-addext", f"subjectAltName=IP:{address}", "-addext", "basicConstraints=CA:FALSE"]
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    authority = ["-keyout", f"{folder / 'ca.key'}", "-out", str(made.authority), "-subj", "/CN=ca"]
    for arguments in (authority, [*signed, *named, *files]):
        subprocess.run([*new, *arguments], check=True, capture_output=True)
    return made


@contextmanager
def docker_registry(
    folder: Path, *, login: bool = False, tls: Certificate | None = None, auth: str = ""
) -> Iterator[str]:
    """Run docker-registry on the loopback with its files in `folder`; its `host:port`.

    With `login` it wants USER and PASSWORD. With `tls`, which is for 127.0.0.2, it is spoken to by
    https. `auth` is another section of that name for its configuration.
    """
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not installed (Debian's package of that name has it)"
    folder.mkdir(parents=True)
    address = "127.0.0.2" if tls else "127.0.0.1"
    with socket.socket() as probe:
        probe.bind((address, 0))
        host = f"{address}:{probe.getsockname()[1]}"
    config = folder / "config.yml"
    (folder / "htpasswd").write_text(_HTPASSWD)
    if login:
        auth = f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}\n"
    secured = f", tls: {{certificate: {tls.certificate}, key: {tls.key}}}" if tls else ""
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
        f"http: {{addr: '{host}'{secured}}}\n{auth}"
    )
    with daemon([program, "serve", str(config)], folder / "log", lambda: _listens(host)):
        yield host


def _listens(host: str) -> bool:
    """Whether somebody listens at `host:port`."""
    address, _, port = host.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((address, int(port))) == 0


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What it gets; with `cut`, the connection breaks after so many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


Script = Callable[[Request], Answer]


@dataclass
class Scripted:
    """A server that answers as `script` says; `seen` has every request, in order.

    `connections` has who connected, by address and port.
    """

    host: str
    script: Script
    seen: list[Request] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)


@contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    """Run a scripted server on the loopback."""

    class Connection(Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size) if size else b""
            request = Request(self.command, self.path, dict(self.headers), body)
            found.seen.append(request)
            found.connections.add(self.client_address)
            answer = found.script(request)
            # Its own Date besides one that the script has would be two.
            send = self.send_response_only if "Date" in answer.headers else self.send_response
            send(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        do_POST = do_CONNECT = do_HEAD = do_PUT = do_PATCH = do_GET

    with serving(Connection) as host:
        found = Scripted(host, script)
        yield found
