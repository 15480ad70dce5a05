"""Objects by URL: files, and S3 through the real client against a server on this machine."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mfbuild.runtime import storage as storage_module
from mfbuild.runtime.errors import Failure
from mfbuild.runtime.storage import Storages, azure_url
from tests.servers import Handler, serving


@pytest.fixture
def s3() -> Iterator[tuple[str, dict[str, bytes]]]:
    """(endpoint, objects by `/bucket/key`) of a server that knows GET and PUT."""
    objects: dict[str, bytes] = {}

    class Objects(Handler):
        def do_PUT(self) -> None:
            objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(200, b"")

        def do_GET(self) -> None:
            content = objects.get(self.path)
            self._answer(200 if content is not None else 404, content or b"")

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serving(Objects) as host:
        yield f"http://{host}", objects


class _Heard(io.StringIO):
    """A stderr; `said` is set when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.said = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        self.said.set()
        return written


def test_what_is_waited_for_is_said_while_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, pipe, threads = _Heard(), tmp_path / "pipe", threading.active_count()
    monkeypatch.setattr(sys, "stderr", heard)
    monkeypatch.setattr(storage_module, "_SILENT", 0.01)
    os.mkfifo(pipe)

    def answer() -> None:
        assert heard.said.wait(60)
        pipe.write_bytes(b"late")

    server = threading.Thread(target=answer)
    server.start()
    assert Storages({}).get(str(pipe)) == b"late"
    server.join()
    assert heard.getvalue() == f"waiting for `{pipe}`\n"
    assert threading.active_count() == threads


def test_what_comes_at_once_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, threads = _Heard(), threading.active_count()
    monkeypatch.setattr(sys, "stderr", heard)
    storage = Storages({})
    storage.put(str(tmp_path / "a"), b"data")
    assert storage.get(str(tmp_path / "a")) == b"data"
    with pytest.raises(Failure):
        storage.get(str(tmp_path / "b"))
    assert (heard.getvalue(), threading.active_count()) == ("", threads)


def test_s3_is_read_and_written_with_flytes_settings(s3: tuple[str, dict[str, bytes]]) -> None:
    endpoint, objects = s3
    objects["/bucket/a/b%23c"] = b"\0content"
    storage = Storages(
        {
            "FLYTE_AWS_ENDPOINT": endpoint,
            "FLYTE_AWS_ACCESS_KEY_ID": "key",
            "FLYTE_AWS_SECRET_ACCESS_KEY": "secret",
        }
    )
    assert storage.get("s3://bucket/a/b#c") == b"\0content"
    storage.put("s3://bucket/out/outputs.pb", b"\1\2")
    assert objects["/bucket/out/outputs.pb"] == b"\1\2"
    with pytest.raises(Failure, match="`s3://bucket/none` cannot be read: "):
        storage.get("s3://bucket/none")


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_files_are_read_and_written_whole(form: str, tmp_path: Path) -> None:
    storage = Storages({})
    url = form.format(tmp_path / "new" / "out.pb")
    storage.put(url, b"1")
    storage.put(url, b"22")
    assert storage.get(url) == b"22"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out.pb"]


def test_a_file_url_is_unquoted(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"1")
    assert Storages({}).get(f"file://{tmp_path}/a%20b") == b"1"


@pytest.mark.parametrize("url", ["ftp://host/x", "/nowhere/at/all", "s3:/x"])
def test_what_cannot_be_read_is_named(url: str) -> None:
    with pytest.raises(Failure, match=f"`{url}` cannot be read: "):
        Storages({}).get(url)


def test_what_cannot_be_written_is_named() -> None:
    with pytest.raises(Failure, match="`/dev/null/x` cannot be written: "):
        Storages({}).put("/dev/null/x", b"")


def test_azure_addresses() -> None:
    blob = "https://account.blob.core.windows.net/box/a/b"
    assert azure_url(blob, {}) == blob
    assert azure_url("abfss://box@account.dfs.core.windows.net/a/b", {}) == blob
    assert azure_url("abfs://box/a/b", {"AZURE_STORAGE_ACCOUNT_NAME": "account"}) == blob
    with pytest.raises(ValueError, match="no account is named"):
        azure_url("abfs://box/a/b", {})


class Blob:
    """An object of Google's client or of Azure's, which knows nothing but what is used of it."""

    def __init__(self, objects: dict[str, bytes], name: str) -> None:
        self.objects, self.name = objects, name

    def download_as_bytes(self) -> bytes:
        return self.objects[self.name]

    def upload_from_string(self, data: bytes, *, content_type: str) -> None:
        assert content_type == "application/octet-stream"
        self.objects[self.name] = data

    def download_blob(self) -> SimpleNamespace:
        return SimpleNamespace(readall=self.download_as_bytes)

    def upload_blob(self, data: bytes, *, overwrite: bool) -> None:
        assert overwrite
        self.objects[self.name] = data


def test_google_cloud_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = {"bucket/a/b": b"1"}
    client = SimpleNamespace(
        bucket=lambda name: SimpleNamespace(blob=lambda key: Blob(objects, f"{name}/{key}"))
    )
    monkeypatch.setitem(
        sys.modules, "google.cloud.storage", cast(Any, SimpleNamespace(Client=lambda: client))
    )
    storage = Storages({})
    assert storage.get("gs://bucket/a/b") == b"1"
    storage.put("gs://bucket/c", b"2")
    assert objects["bucket/c"] == b"2"


@pytest.mark.parametrize("environ", [{"AZURE_STORAGE_ACCOUNT_KEY": "key"}, {}])
def test_azure_blobs(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    objects = {"https://account.blob.core.windows.net/box/a": b"1"}

    def from_blob_url(url: str, *, credential: str) -> Blob:
        assert credential == environ.get("AZURE_STORAGE_ACCOUNT_KEY", "identity")
        return Blob(objects, url)

    modules = {
        "azure.storage.blob": SimpleNamespace(
            BlobClient=SimpleNamespace(from_blob_url=from_blob_url)
        ),
        "azure.identity": SimpleNamespace(DefaultAzureCredential=lambda: "identity"),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, cast(Any, module))
    storage = Storages({**environ, "AZURE_STORAGE_ACCOUNT_NAME": "account"})
    assert storage.get("abfs://box/a") == b"1"
    storage.put("abfss://box@account.dfs.core.windows.net/b", b"2")
    assert objects["https://account.blob.core.windows.net/box/b"] == b"2"
