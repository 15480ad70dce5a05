"""Calls to one Flyte: deadline, repetition, authorization, and what a failure means."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from flyteidl.service.auth_pb2_grpc import AuthMetadataServiceStub
from flyteidl.service.dataproxy_pb2_grpc import DataProxyServiceStub

from mfbuild.errors import FlyteError, UsageError
from mfbuild.files import words_of
from mfbuild.flyte.admin.authorization import Authorization, Metadata
from mfbuild.flyte.admin.failures import CallFailure, Refusal
from mfbuild.flyte.settings import Settings
from mfbuild.http.client import HttpClient
from mfbuild.http.errors import Passing
from mfbuild.http.retry import persist
from mfbuild.http.trust import Trust

SECONDS = 30.0
"""How long one attempt may take, if it is not said otherwise."""

PATIENCE = 90.0
"""Seconds after which a call that failed is not sent again."""

RENEWALS = 2
"""Of an authorization, for one call: what was kept from before may be too old as well."""

PAGE = 100

OPTIONS = (
    # Flyte before 1.16.8 puts whole differences into an error's message, which is metadata.
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 1 << 20),
    # What flyteadmin is configured for by its charts, and flytekit takes.
    ("grpc.max_receive_message_length", 20 << 20),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.primary_user_agent", "mfbuild"),
)

Method = Callable[..., Any]


class _Unanswered(Passing):
    """A call that failed, and may do better."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.words)
        self.failure = failure


class Client:
    """The services of one Flyte, to be shared between threads; `http` is for its bucket.

    `environ` names the authorities that are trusted where `settings` do not. UsageError where the
    authorities' file cannot be read, FlyteError where a server whose certificate is not to be
    verified does not show one.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
        seconds: float = SECONDS,
    ) -> None:
        self.settings = settings
        file, anybody = settings.ca_cert_file, settings.insecure_skip_verify
        self.http = HttpClient(Trust(environ, file=file, anybody=anybody), sleep)
        self._sleep = sleep
        self._seconds = seconds
        channel = _channel(settings)
        self.admin: Any = AdminServiceStub(channel)
        self.data: Any = DataProxyServiceStub(channel)
        self._authorization = Authorization(settings, AuthMetadataServiceStub(channel), self._send)

    def call(self, method: Method, request: Any, doing: str) -> Any:
        """The answer to `request`; `doing` says for errors what it asks, as in `find task `x``.

        It is sent again where the failure may pass, so it must do no harm when it had taken
        effect. Refusal for what Flyte answers otherwise, FlyteError where it gives no answer.
        """
        renewals = 0
        while True:
            metadata = self._authorization.metadata()
            try:
                return self._send(method, request, doing, metadata)
            except Refusal as refusal:
                if refusal.code != "UNAUTHENTICATED":
                    raise
            if renewals == RENEWALS or not self._authorization.renew(metadata):
                raise self._authorization.error()
            renewals += 1

    def _send(self, method: Method, request: Any, doing: str, metadata: Metadata) -> Any:
        """The answer to `request`, sent until it is not worth it any more."""

        def attempt() -> Any:
            try:
                return method(request, timeout=self._seconds, metadata=metadata)
            except grpc.RpcError as error:
                failure = CallFailure.of(error)
            raise _Unanswered(failure) if failure.may_pass else failure.error(self.settings, doing)

        try:
            return persist(attempt, lambda n: None, self._sleep, PATIENCE)
        except _Unanswered as unanswered:
            raise unanswered.failure.error(self.settings, doing) from None

    def pages(self, method: Method, request: Any, field: str, doing: str) -> Iterator[Any]:
        """What is in `field` of every page of a list."""
        while True:
            answer = self.call(method, request, doing)
            items = getattr(answer, field)
            yield from items
            if not answer.token or not items:
                return
            request.token = answer.token


def _channel(settings: Settings) -> grpc.Channel:
    proxy = ("grpc.enable_http_proxy", 0 if settings.is_on_loopback else 1)
    options = (*OPTIONS, proxy)
    if settings.insecure:
        return grpc.insecure_channel(settings.target, options)
    credentials = grpc.ssl_channel_credentials(_root_certificates(settings))
    return grpc.secure_channel(settings.target, credentials, options)


def _root_certificates(settings: Settings) -> bytes | None:
    """The authorities that are trusted; None for gRPC's own."""
    if settings.insecure_skip_verify:
        return _shown_certificate(settings)
    if settings.ca_cert_file is None:
        return None
    try:
        found = settings.ca_cert_file.read_bytes()
    except OSError as error:
        message = f"the certificates `{settings.ca_cert_file}` cannot be read: {words_of(error)}"
        raise UsageError(message, where=settings.source) from None
    if b"-----BEGIN CERTIFICATE-----" not in found:
        message = f"the file of certificates `{settings.ca_cert_file}` has none"
        raise UsageError(message, where=settings.source)
    return found


def _shown_certificate(settings: Settings) -> bytes:
    """The certificate that the server shows, to be trusted as it is (what flytekit does, too)."""
    import ssl

    host, _, port = settings.target.rpartition(":")
    try:
        shown = ssl.get_server_certificate((host.strip("[]"), int(port)), timeout=SECONDS)
    except OSError as error:
        message = f"`{settings.endpoint}` shows no certificate: {words_of(error)}"
        raise FlyteError(message) from None
    return shown.encode()
