"""The local Docker daemon, through the optional `docker` package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mfbuild.errors import ActionError, UsageError

TIMEOUT = 600
"""Seconds that the daemon may take to unpack what it was sent."""


def load(archive: Iterable[bytes]) -> None:
    """Load a tar of `docker save`'s form into the daemon of DOCKER_HOST or the default socket.

    UsageError if the `docker` package is missing; ActionError if no daemon answers, or refuses.
    """
    try:
        import docker
        from docker.errors import DockerException
    except ImportError as error:
        hint = "install mfbuild with its extra `docker`: `mfbuild[docker]`"
        raise UsageError("loading images needs the `docker` package", hint=hint) from error
    try:
        client: Any = docker.from_env(timeout=TIMEOUT)
    except (DockerException, OSError) as error:
        hint = "start it, or set DOCKER_HOST to where it listens"
        raise ActionError("the Docker daemon cannot be reached", hint=hint) from error
    try:
        _check(client.api.load_image(iter(archive)))
    except (DockerException, OSError) as error:
        raise ActionError(f"the Docker daemon does not load the images: {error}") from error
    finally:
        client.close()


def _check(progress: Iterable[dict[str, Any]]) -> None:
    """Read the daemon's progress to its end; its failures are among it."""
    for event in progress:
        if "error" in event:
            raise ActionError(f"the Docker daemon does not load the images: {event['error']}")
