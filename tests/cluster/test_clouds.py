"""gs:// and Azure's addresses, by the image's clients, against servers on this machine."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.build import azurite, command, program
from tests.cluster.engine import free_ports
from tests.cluster.flows import MFBUILD
from tests.cluster.namespace import listens, wait
from tests.threeways.seen import environment, options

FLOW = """
import json, os, tempfile
from metaflow import FlowSpec, JSONType, Parameter, step


class CloudFlow(FlowSpec):
    url = Parameter("url")
    settings = Parameter("settings", type=JSONType)
    certificate = Parameter("certificate", default="")

    @step
    def start(self):
        from mfbuild_runtime.storage import Storages

        os.environ.update(self.settings)
        with tempfile.NamedTemporaryFile("w") as authority:
            authority.write(self.certificate)
            authority.flush()
            if self.certificate:
                os.environ["REQUESTS_CA_BUNDLE"] = authority.name
                self.make_container()
            self.use(Storages(os.environ))
        self.next(self.end)

    def make_container(self):
        from azure.storage.blob import ContainerClient

        container = self.url.rpartition("/")[0]
        key = self.settings["AZURE_STORAGE_ACCOUNT_KEY"]
        ContainerClient.from_container_url(container, credential=key).create_container()

    def use(self, storage):
        from mfbuild_runtime.errors import Failure

        key = f"{self.url}/a folder/outputs.pb"
        try:
            storage.get(key)
        except Failure as error:
            self.missing = str(error)
        storage.put(key, b"before")
        storage.put(key, bytes(range(256)) * 40_000)
        assert storage.get(key) == bytes(range(256)) * 40_000
        storage.put(self.url, b"")
        assert storage.get(self.url) == b""

    @step
    def end(self):
        print(self.missing)


if __name__ == "__main__":
    CloudFlow()
"""
POLICY = """
[workspace]
platforms = ["linux/amd64"]
[domain.google.metaflow]
datastore_sysroot_gs = "gs://bucket/metaflow"
[domain.azure.metaflow]
datastore_sysroot_azure = "box/metaflow"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose images have the clients of both clouds."""
    folder = tmp_path_factory.mktemp("clouds")
    (folder / "flow.py").write_text(FLOW)
    (folder / "BUILD.toml").write_text(POLICY)
    return folder


@pytest.fixture
def google(tmp_path: Path) -> Iterator[str]:
    """The address of a server of Google Cloud Storage with one bucket, `bucket`."""
    if not program("fake-gcs-server").exists():
        pytest.skip("fake-gcs-server is not built (`scripts/test --cluster` builds it)")
    (port,) = free_ports(1)
    (tmp_path / "data/bucket").mkdir(parents=True)
    words = [str(program("fake-gcs-server")), "-scheme=http", "-host=127.0.0.1",
             f"-port={port}", f"-public-host=127.0.0.1:{port}", "-backend=memory",
             f"-data={tmp_path}/data"]  # fmt: skip
    with server(words, port, tmp_path):
        yield f"http://127.0.0.1:{port}"


def test_google_cloud_storage(google: str, folder: Path, tmp_path: Path) -> None:
    settings = {"STORAGE_EMULATOR_HOST": google}
    assert "404" in said(folder, tmp_path, "gs://bucket/run", settings)


def test_azure_blobs(folder: Path, tmp_path: Path) -> None:
    if not azurite().exists():
        pytest.skip("Azurite is not installed (`scripts/test --cluster` does it, with npm)")
    (port,) = free_ports(1)
    certificate, secret = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [command("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", secret, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    account = base64.b64encode(secrets.token_bytes(32)).decode()
    words = [str(azurite()), "--silent", "--inMemoryPersistence", "--disableTelemetry",
             "--skipApiVersionCheck", "--blobHost=127.0.0.1", f"--blobPort={port}",
             f"--cert={certificate}", f"--key={secret}"]  # fmt: skip
    settings = {"AZURE_STORAGE_ACCOUNT_KEY": account}
    url = f"https://127.0.0.1:{port}/account/box/run"
    given = {"certificate": certificate.read_text()}
    with server(words, port, tmp_path, AZURITE_ACCOUNTS=f"account:{account}"):
        assert "BlobNotFound" in said(folder, tmp_path, url, settings, **given)


def said(folder: Path, root: Path, url: str, settings: dict[str, str], **more: str) -> str:
    """What the flow says of an object that is not there, once all else was as it should be."""
    given = {"url": url, "settings": json.dumps(settings), **more}
    done = MFBUILD("run", "flow.py", *options(given), cwd=folder, **environment(root))
    assert done.code == 0, done.err
    record = folder / ".mfbuild/runs" / done.out.strip().rpartition("flyte-")[2]
    return (record / "nodes/end/0/log").read_text()


@contextmanager
def server(words: Sequence[str], port: int, folder: Path, **env: str) -> Iterator[None]:
    """A server that listens at `port` until the block ends."""
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, cwd=folder, env=environment(folder, **env), stdout=out, stderr=out
        )
    try:
        wait(lambda: listens(port) or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait()
