"""Images of numpy + pandas + scikit-learn, built cold and pushed: mfbuild, Docker and pex.

Wheels are downloaded and the base image is present before the clock starts. Needs root,
docker.io and docker-registry of Debian; everything it starts, it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from timing import Timed, in_turn, table, times

PACKAGES = {"numpy": "2.2.6", "pandas": "2.2.3", "scikit-learn": "1.6.1"}
FLOW = f"""
from metaflow import FlowSpec, pypi, step


class BakeFlow(FlowSpec):
    @pypi(packages={PACKAGES!r})
    @step
    def start(self):
        self.next(self.end)

    @pypi(packages={PACKAGES!r})
    @step
    def end(self):
        pass


if __name__ == "__main__":
    BakeFlow()
"""
DOCKERFILE = """
FROM base
USER 0:0
COPY wheels /wheels
COPY uv /usr/bin/uv
RUN ["/usr/bin/uv", "pip", "install", "--python", "/usr/bin/python3.11", "--offline", \
"--no-index", "--find-links", "/wheels", "--target", "/opt/site", "metaflow", {requirements}]
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def server(command: list[str], ready: Callable[[], bool]) -> Iterator[None]:
    """Run `command` until the block ends."""
    with Path(os.devnull).open("w") as null:
        process = subprocess.Popen(command, stdout=null, stderr=null)
    try:
        while not ready():
            if process.poll() is not None:
                raise SystemExit(f"`{command[0]}` ended with {process.returncode}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(*command: str, **kwargs: object) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **kwargs)  # type: ignore[call-overload]


def prepare(work: Path, docker: list[str]) -> list[str]:
    """A packaged flow, its wheels, the base image in Docker; the wheels' requirements."""
    (work / "flow").mkdir()
    (work / "flow/flow.py").write_text(FLOW)
    os.environ["MFBUILD_STORE"] = str(work / "store")
    mfbuild = [sys.executable, "-m", "mfbuild", "package", "-q", "--platform", "linux/amd64"]
    run(*mfbuild, "flow.py", cwd=work / "flow")
    requirements = [f"{name}=={version}" for name, version in PACKAGES.items()]
    wheels = work / "context/wheels"
    run(sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:",
        "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64",
        "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_17_x86_64",
        "-d", str(wheels), "metaflow", *requirements)  # fmt: skip
    shutil.copy(shutil.which("uv") or Path(sys.executable).with_name("uv"), work / "context/uv")
    base = work / "base/flow.py"
    base.parent.mkdir()
    base.write_text(BASE_FLOW)
    run(*mfbuild, "-o", str(work / "base.tar"), str(base), cwd=work)
    loaded = subprocess.run(
        [*docker, "load", "-q", "-i", str(work / "base.tar")],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    run(*docker, "tag", loaded.split()[-1], "base")
    return requirements


BASE_FLOW = """
from metaflow import FlowSpec, step


class BaseFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    BaseFlow()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        config = work / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
            f"http: {{addr: 127.0.0.1:{port}}}\n"
        )
        (work / "context").mkdir()
        stack.enter_context(
            server(["docker-registry", "serve", str(config)], lambda: listens(port))
        )
        sock = work / "docker.sock"
        daemon = ["dockerd", "--data-root", f"{work}/docker", "--exec-root", f"{work}/exec",
                  "-p", f"{work}/docker.pid", "-H", f"unix://{sock}", "--iptables=false",
                  "--bridge=none", "--insecure-registry", f"127.0.0.1:{port}"]  # fmt: skip
        stack.enter_context(server(daemon, sock.exists))
        docker = ["docker", "-H", f"unix://{sock}"]
        print(measure(work, port, docker, runs))


def measure(work: Path, port: int, docker: list[str], runs: int) -> str:
    """The table of all three, each cold in every run."""
    requirements = prepare(work, docker)
    quoted = ", ".join(f'"{r}"' for r in requirements)
    (work / "context/Dockerfile").write_text(DOCKERFILE.format(requirements=quoted))
    registry = work / "registry"

    def clean() -> None:
        shutil.rmtree(registry, ignore_errors=True)

    base_flow = {b.name for b in (work / "base/.mfbuild/dist").glob("*/blobs/sha256/*")}
    made = {b.name for b in (work / "flow/.mfbuild/dist").glob("*/blobs/sha256/*")} - base_flow

    def forget_layers() -> None:
        """Drop what was made, keep what was downloaded and the base image's layer."""
        clean()
        shutil.rmtree(work / "flow/.mfbuild", ignore_errors=True)
        for name in made:
            (work / "store/cas/sha256" / name[:2] / name).unlink(missing_ok=True)

    def forget_pex() -> None:
        for folder in ("out.pex", "pex"):
            shutil.rmtree(work / folder, ignore_errors=True)

    target = f"127.0.0.1:{port}/bake"
    ours = Timed("mfbuild package + push", [sys.executable, "-m", "mfbuild", "package", "-q",
        "--locked", "--platform", "linux/amd64", "flow.py", "-o", f"oci://{target}"],
        forget_layers, cwd=str(work / "flow"))  # fmt: skip
    words = " ".join(docker)
    theirs = Timed("docker build (uv) + docker push", ["sh", "-c",
        f"{words} build -q --no-cache --network none -t {target}:theirs context && "
        f"{words} push -q {target}:theirs"], clean, {"DOCKER_BUILDKIT": "0"},
        cwd=str(work))  # fmt: skip
    pex = Timed("pex (packed) of the same", [sys.executable, "-m", "pex", "--no-pypi",
        "-f", "context/wheels", "--layout", "packed", "--python", sys.executable, "-o", "out.pex",
        *requirements], forget_pex,
        {"PEX_ROOT": str(work / "pex")}, cwd=str(work))  # fmt: skip
    in_turn([ours, theirs, pex], runs)
    rows = [[t.name, times(t)] for t in (ours, theirs, pex)]
    rows += [
        [f"ratio to {t.name} (bar 0.15)", f"{ours.median / t.median:.3f}"] for t in (theirs, pex)
    ]
    return table(rows, ["what", "min / median s"])


if __name__ == "__main__":
    main()
