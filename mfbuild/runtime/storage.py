"""Reads and writes single objects by URL, with the client of the URL's scheme."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from .errors import Failure

_SILENT = 5.0
"""Seconds of waiting after which that is said."""


class Storage(Protocol):
    """Objects by URL. `get` and `put` raise what the client raises; OSError for files."""

    def get(self, url: str) -> bytes: ...

    def put(self, url: str, data: bytes) -> None: ...


class Storages:
    """s3://, gs://, abfs(s)://, https:// (an Azure blob), file:// and plain paths in one.

    A client is imported when its first URL comes: most take longer than the rest of the runtime.
    Raises Failure for what cannot be read or written, of whatever kind.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known: dict[str, Storage] = {}

    def get(self, url: str) -> bytes:
        try:
            with _told(url):
                return self._of(url).get(url)
        except Exception as error:
            raise Failure(f"`{url}` cannot be read: {_said(error)}") from error

    def put(self, url: str, data: bytes) -> None:
        try:
            with _told(url):
                self._of(url).put(url, data)
        except Exception as error:
            raise Failure(f"`{url}` cannot be written: {_said(error)}") from error

    def _of(self, url: str) -> Storage:
        scheme = urlsplit(url).scheme if "://" in url else "file"
        if scheme not in self._known:
            self._known[scheme] = _open(scheme, self._environ)
        return self._known[scheme]


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Say what is waited for, if it takes long; no thread is left when the runtime forks."""
    timer = threading.Timer(_SILENT, sys.stderr.write, [f"waiting for `{url}`\n"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _open(scheme: str, environ: Mapping[str, str]) -> Storage:
    match scheme:
        case "file":
            return Files()
        case "s3":
            return S3(environ)
        case "gs":
            return GoogleCloud()
        case "abfs" | "abfss" | "https":
            return Azure(environ)
    raise ValueError(f"the scheme `{scheme}` is not supported; s3, gs, abfs and file are")


class Files:
    """Local files; a folder that is missing is made."""

    def get(self, url: str) -> bytes:
        return _path(url).read_bytes()

    def put(self, url: str, data: bytes) -> None:
        """Readers see all of the file or none of it."""
        path = _path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)) if url.startswith("file://") else Path(url)


class S3:
    """S3 through boto3, with the settings that Flyte gives its pods, else boto3's own.

    No transfer manager: its threads must not be there when the runtime forks.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        given = {
            "endpoint_url": environ.get("FLYTE_AWS_ENDPOINT")
            or environ.get("METAFLOW_S3_ENDPOINT_URL"),
            "aws_access_key_id": environ.get("FLYTE_AWS_ACCESS_KEY_ID"),
            "aws_secret_access_key": environ.get("FLYTE_AWS_SECRET_ACCESS_KEY"),
        }
        self._client: Any = import_module("boto3").client(
            "s3", **{k: v for k, v in given.items() if v}
        )

    def get(self, url: str) -> bytes:
        bucket, key = _bucket(url)
        content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def put(self, url: str, data: bytes) -> None:
        bucket, key = _bucket(url)
        self._client.put_object(Bucket=bucket, Key=key, Body=data)


class GoogleCloud:
    """Google Cloud Storage with the pod's own identity."""

    def __init__(self) -> None:
        self._client: Any = import_module("google.cloud.storage").Client()

    def _blob(self, url: str) -> Any:
        bucket, key = _bucket(url)
        return self._client.bucket(bucket).blob(key)

    def get(self, url: str) -> bytes:
        content: bytes = self._blob(url).download_as_bytes()
        return content

    def put(self, url: str, data: bytes) -> None:
        self._blob(url).upload_from_string(data, content_type="application/octet-stream")


class Azure:
    """Azure blobs, as abfs[s]://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY, or by https URL.

    Flyte also writes abfs://CONTAINER/KEY; the account is then $AZURE_STORAGE_ACCOUNT_NAME. The
    key is $AZURE_STORAGE_ACCOUNT_KEY, else the pod's own identity counts.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        key = environ.get("AZURE_STORAGE_ACCOUNT_KEY")
        credential = key or import_module("azure.identity").DefaultAzureCredential()
        client: Any = import_module("azure.storage.blob").BlobClient
        self._environ = environ
        self._client = partial(client.from_blob_url, credential=credential)

    def get(self, url: str) -> bytes:
        content: bytes = self._client(azure_url(url, self._environ)).download_blob().readall()
        return content

    def put(self, url: str, data: bytes) -> None:
        self._client(azure_url(url, self._environ)).upload_blob(data, overwrite=True)


def azure_url(url: str, environ: Mapping[str, str]) -> str:
    """The https address of an Azure blob. Raises ValueError if no account is known."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return url
    container, _, host = parts.netloc.rpartition("@")
    if not container:
        container, account = host, environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        if not account:
            raise ValueError("no account is named, and $AZURE_STORAGE_ACCOUNT_NAME is not set")
        host = f"{account}.dfs.core.windows.net"
    return f"https://{host.replace('.dfs.', '.blob.', 1)}/{container}{parts.path}"


def _bucket(url: str) -> tuple[str, str]:
    """(bucket, key); a key may hold `?` and `#`, which RFC 3986 would cut off."""
    bucket, _, key = url.partition("://")[2].partition("/")
    return bucket, key
