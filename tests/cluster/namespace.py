"""A pid and mount namespace for servers: what runs in it ends, and what it mounts goes, with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.build import SEARCH

HIDDEN = ("/run/containerd", "/var/lib/kubelet", "/var/log")
"""Folders of the machine that containerd and kubelet write to whatever their settings say."""
SYSCTLS = ("kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxbytes",
           "kernel/keys/root_maxkeys", "vm/overcommit_memory", "vm/panic_on_oom")  # fmt: skip
"""Settings of the machine that kubelet changes."""

_INIT = f"""
for hidden in {" ".join(HIDDEN)}; do
    mkdir -p $hidden
    mount -t tmpfs tmpfs $hidden
done
for name in {" ".join(SYSCTLS)}; do
    mkdir -p "$1/sysctl/${{name%/*}}"
    cat /proc/sys/$name > "$1/sysctl/$name"
    mount --bind "$1/sysctl/$name" /proc/sys/$name
done
echo ready
exec cat
"""


class ServerError(Exception):
    """A server ended, or was not ready in time; its last lines are in the message."""


@dataclass
class Namespace:
    """Servers that live in the namespace of `holder`; `folder` has a log of each."""

    folder: Path
    holder: subprocess.Popen[bytes]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self,
        argv: Sequence[str | Path],
        ready: Callable[[], bool] = lambda: True,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a server and wait until `ready`; ServerError if it ends or takes a minute."""
        log = self.folder / f"{Path(argv[0]).name}.log"
        own = Path("/proc", str(self.holder.pid), "ns")
        enter = ["nsenter", f"--pid={own / 'pid_for_children'}", f"--mount={own / 'mnt'}", "--"]
        with log.open("ab") as out:
            server = subprocess.Popen(
                [*enter, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PATH": SEARCH, **(env or {})},
                start_new_session=True,  # ^C is the caller's to handle
            )
        self.servers.append(server)
        wait(lambda: ready() or server.poll() is not None, lambda: last_lines(log))
        if server.poll() is not None:
            raise ServerError(f"`{log.stem}` ended: {last_lines(log)}")
        return server

    def stop(self, server: subprocess.Popen[bytes], port: int) -> None:
        """End a server, and wait until nobody listens at its port."""
        os.killpg(server.pid, signal.SIGTERM)  # nsenter, and the server itself
        server.wait()
        wait(lambda: not listens(port), lambda: f"port {port} is still listened at")


def wait(ready: Callable[[], bool], what: Callable[[], str], seconds: float = 60) -> None:
    """Return once `ready`; ServerError with what `what` says if that takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ServerError(f"not ready in {seconds:.0f} seconds: {what()}")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether somebody listens at a port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def namespace(folder: Path) -> Iterator[Namespace]:
    """Open a namespace; at the end, and if this process dies, its processes and mounts are gone."""
    made = [path for path in map(Path, HIDDEN) if not path.exists()]
    holder = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--mount",
            "--mount-proc",
            "sh",
            "-euc",
            _INIT,
            "sh",
            folder,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert holder.stdin and holder.stdout and holder.stderr
    opened = Namespace(folder, holder)
    try:
        if holder.stdout.readline() != b"ready\n":
            raise ServerError(f"no namespace: {holder.stderr.read().decode(errors='replace')}")
        yield opened
    finally:
        # Its first process reads until this pipe is closed; the kernel ends all others with it.
        holder.communicate()
        for server in opened.servers:
            server.wait()
        for path in made:
            with suppress(OSError):  # somebody else uses it by now
                path.rmdir()


def last_lines(log: Path) -> str:
    """The end of a server's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
