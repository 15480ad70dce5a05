"""What of the caller's own reaches a step: variables, each with its reason, and files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mfbuild.local.sandbox.mounts import Bind

HOME = "/home/nonroot"
"""The home of the user 65532 in the images that mfbuild bakes."""

PASSED = {
    "METAFLOW_*": "Metaflow's settings: the datastore and metadata service, and the user",
    "AWS_*": "credentials of the person for the datastore; a pod has those of its service account",
    "AZURE_*": "the same, of Azure",
    "GOOGLE_*": "the same, of Google",
    "CLOUDSDK_*": "the same, of Google's own tools",
    "HTTP_PROXY": "the way out of the network of this machine",
    "HTTPS_PROXY": "the same",
    "ALL_PROXY": "the same",
    "NO_PROXY": "the same",
    "SSL_CERT_FILE": "certificates that this machine's network is trusted by",
    "REQUESTS_CA_BUNDLE": "the same, for requests",
    "CURL_CA_BUNDLE": "the same, for curl and requests",
    "MFBUILD_WORKDIR": "set by `mfbuild run`: where the runtime unpacks the code",
    "MFBUILD_MAX_FUTURES_MB": "a setting of the runtime, which a pod takes as well",
}
"""The variables that pass into an image, with the reason for each; proxies in either case."""

AT_START = (
    *("TZ", "TZDIR", "LANG", "LANGUAGE", "LC_", "PYTHON", "LD_", "MALLOC_", "GLIBC_TUNABLES"),
    *("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "VECLIB_", "NUMEXPR_"),
)
"""How variables begin that libc, Python or a library reads once, when the process starts."""

# The files that these name are seen inside, where they are outside.
_NAME_FILES = (
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_FEDERATED_TOKEN_FILE", "METAFLOW_HOME"),
)
_SETTINGS = (".metaflowconfig", ".aws", ".azure", ".config/gcloud")
_NETWORK = ("/etc/resolv.conf", "/etc/hosts")
_OWN = "MFBUILD_"


def passed(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment a step in an image sees; see PASSED."""
    return {name: value for name, value in environ.items() if _passes(name)}


def _passes(name: str) -> bool:
    if name.lower().endswith("_proxy"):
        name = name.upper()
    prefix, separator, _ = name.partition("_")
    return name in PASSED or f"{prefix}{separator}*" in PASSED


def on_host(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment as a step sees it that is in no image.

    As in `python flow.py run`, but for mfbuild's own variables: tokens and addresses of the tool
    are nothing to what it runs.
    """
    return {n: value for n, value in environ.items() if not n.startswith(_OWN) or n in PASSED}


def read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of `variables` that take effect only in a process that is started with them."""
    return {name: value for name, value in variables.items() if name.startswith(AT_START)}


def personal_binds(environ: Mapping[str, str]) -> list[Bind]:
    """The caller's own settings, read-only, as far as they are there."""
    binds = []
    if home := environ.get("HOME", ""):
        for name in _SETTINGS:
            if Path(home, name).is_dir():
                binds.append(Bind(f"{HOME}/{name}", source=os.path.realpath(f"{home}/{name}")))
    named = {environ.get(name, "") for name in _NAME_FILES}
    files = sorted(path for path in named if path.startswith("/") and Path(path).exists())
    return binds + [Bind(path, source=os.path.realpath(path)) for path in files]


def machine_binds() -> list[Bind]:
    """What a container has of its machine: name resolution, and /sys to look at."""
    names = [Bind(p, source=os.path.realpath(p), mapped=False) for p in _NETWORK if _is_there(p)]
    return [*names, Bind("/sys", mapped=False)]


def _is_there(path: str) -> bool:
    return Path(path).exists()
