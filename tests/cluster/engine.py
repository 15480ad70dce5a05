"""A real Flyte engine on this machine: FlytePropeller, Kubernetes, a registry and S3.

Everything listens on the loopback, at ports that were free, and keeps its files in one temporary
folder. `python -m tests.cluster.engine` starts one and keeps it until ^C.
"""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flyteidl.core.compiler_pb2 import CompiledWorkflowClosure
from flyteidl.core.literals_pb2 import LiteralMap

from tests.cluster.executions import Result, execute
from tests.cluster.images import container_image, push, start_registry
from tests.cluster.kubernetes import (
    Kubernetes,
    add_namespace,
    remove_cgroups,
    start_api,
    start_node,
)
from tests.cluster.namespace import ServerError, last_lines, namespace
from tests.cluster.propeller import Bucket, Propeller, start_storage

PROJECT, DOMAIN = "flows", "test"


@dataclass(frozen=True)
class Engine:
    """A running engine.

    `registry` is `host:port`; `image` the one for tasks made by hand; `shared` what all pods have
    at SHARED; `folder` has a log of each server.
    """

    registry: str
    bucket: Bucket
    kubernetes: Kubernetes
    propeller: Propeller
    image: str
    shared: Path
    folder: Path

    def run(
        self,
        templates: CompiledWorkflowClosure,
        inputs: LiteralMap,
        *,
        parallelism: int = 0,
        seconds: float = 600,
    ) -> Result:
        """Run a workflow of PROJECT and DOMAIN; ServerError if it takes more than `seconds`.

        `parallelism` is how many of its nodes run at once, 0 for no bound.
        """
        try:
            return execute(self.kubernetes, templates, inputs, parallelism, seconds)
        except ServerError as error:
            log = last_lines(self.folder / "flytepropeller.log")
            raise ServerError(f"{error}\nflytepropeller's last lines:\n{log}") from error

    def push(self, source: str, repository: str) -> str:
        """Copy an image, as skopeo names it, to the registry; its reference there, by digest."""
        return push(source, self.registry, repository, self.folder)


@contextmanager
def engine() -> Iterator[Engine]:
    """Start an engine; at the end nothing of it is left. ServerError with its log if one fails."""
    # A socket's path has at most 107 characters, too few for pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="mfbuild-engine-"))
    try:
        with ExitStack() as stack:
            stack.callback(remove_cgroups, folder)  # after the namespace has ended
            space = stack.enter_context(namespace(folder))
            ports = free_ports(7)
            bucket = start_storage(space, ports[0])
            registry = start_registry(space, ports[1])
            (folder / "image").mkdir()
            image = push(container_image(folder / "image"), registry, "container", folder)
            kubernetes = start_api(space, ports[2:5])
            stack.enter_context(kubernetes.session)
            start_node(space, kubernetes, ports[5], image)
            shared = folder / "shared"
            shared.mkdir()
            shared.chmod(0o777)  # containers have users of their own
            add_namespace(kubernetes, f"{PROJECT}-{DOMAIN}", shared)
            propeller = Propeller(space, kubernetes, bucket, ports[6])
            propeller.start()
            yield Engine(registry, bucket, kubernetes, propeller, image, shared, folder)
    finally:
        shutil.rmtree(folder)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def main() -> None:
    """Start an engine and keep it until ^C."""
    with engine() as running, suppress(KeyboardInterrupt):
        sys.stderr.write(f"engine: KUBECONFIG={running.kubernetes.kubeconfig}\n")
        signal.pause()


if __name__ == "__main__":
    main()
