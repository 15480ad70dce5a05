"""What a failed call means: sent again or not, and what people are told."""

from __future__ import annotations

import pytest

from mfbuild.flyte.admin.failures import CallFailure, Refusal
from mfbuild.flyte.settings import Settings

SETTINGS = Settings("flyte.example.com", "~/.flyte/config.yaml")
CONNECT = "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:443: "
TLS = f"{CONNECT}Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: OPENSSL_internal:"
UPSTREAM = "upstream connect error or disconnect/reset before headers. reset reason: TLS error"


@pytest.mark.parametrize(
    ("code", "words", "passes"),
    [
        ("UNAVAILABLE", "", True),
        ("UNAVAILABLE", f"{CONNECT}Connection refused", True),
        ("UNAVAILABLE", UPSTREAM, True),
        ("UNAVAILABLE", f"{TLS}CERTIFICATE_VERIFY_FAILED: self signed certificate: OK", False),
        ("UNAVAILABLE", f"{TLS}WRONG_VERSION_NUMBER: Invalid certificate context: OK", False),
        ("UNAVAILABLE", "DNS resolution failed for x: Domain name not found", False),
        ("UNAVAILABLE", "DNS resolution failed for x: Timeout while contacting servers", True),
        ("RESOURCE_EXHAUSTED", "too many requests", True),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)", False),
        ("INTERNAL", "failed to compile workflow", False),
        ("INTERNAL", "stream terminated by RST_STREAM with code 2", True),
        ("UNKNOWN", "Stream removed", True),
        ("UNKNOWN", "something", False),
        ("CANCELLED", "GOAWAY received", True),
        ("CANCELLED", "", False),
        ("NOT_FOUND", "", False),
        ("UNAUTHENTICATED", "", False),
    ],
)
def test_what_may_pass(code: str, words: str, passes: bool) -> None:
    assert CallFailure(code, words).may_pass is passes


@pytest.mark.parametrize(
    ("code", "words", "message", "hint"),
    [
        (
            "UNAVAILABLE",
            UPSTREAM,
            f"`flyte.example.com` gave no answer when asked to register task `a`: {UPSTREAM}",
            "the endpoint is from ~/.flyte/config.yaml",
        ),
        (
            "UNAVAILABLE",
            f"{TLS}CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            "`flyte.example.com` cannot be reached: "
            "certificate verify failed: self signed certificate",
            "trust its authority with `admin.caCertFilePath` of flytekit's configuration",
        ),
        (
            "UNAVAILABLE",
            "",
            "`flyte.example.com` gave no answer when asked to register task `a`: "
            "the connection broke",
            "the endpoint is from ~/.flyte/config.yaml",
        ),
        (
            "PERMISSION_DENIED",
            "no",
            "`flyte.example.com` refuses to register task `a`: no",
            "it knows who calls; whoever runs it grants what is missing",
        ),
        (
            "UNIMPLEMENTED",
            "unknown service flyteidl.service.AdminService",
            "`flyte.example.com` refuses to register task `a`: "
            "unknown service flyteidl.service.AdminService",
            "is `flyte.example.com` (from ~/.flyte/config.yaml) the API of a Flyte 1?",
        ),
        ("ABORTED", "", "`flyte.example.com` refuses to register task `a`: ABORTED", None),
    ],
)
def test_what_is_told(code: str, words: str, message: str, hint: str | None) -> None:
    error = CallFailure(code, words).error(SETTINGS, "register task `a`")
    assert (str(error), error.problems[0].hint) == (message, hint)


def test_long_words_are_cut_for_people_alone() -> None:
    error = CallFailure("INTERNAL", "x" * 5000).error(SETTINGS, "list")
    assert isinstance(error, Refusal)
    assert len(str(error)) < 700 and str(error).endswith("x…")
    assert error.words == "x" * 5000
