"""What a caller asks of a run (RunOptions), and the sandbox that this means (choose_sandbox)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.engine.store import Store
from mfbuild.errors import UsageError
from mfbuild.local.run_source import RunSource
from mfbuild.local.sandbox.host import HostSandbox
from mfbuild.local.sandbox.images import StepImages
from mfbuild.local.sandbox.mounts import Bind
from mfbuild.local.sandbox.rootfs import RootfsSandbox
from mfbuild.local.sandbox.runtime_tree import lay_runtime
from mfbuild.local.settings import make_datastore, make_files_root, metaflow_settings
from mfbuild.oci.archive import host_platform
from mfbuild.report import PlainReporter

if TYPE_CHECKING:
    from mfbuild.local.sandbox.container import Engine, Runc

SANDBOXES = ("rootfs", "container", "host")
_SBIN = "/usr/sbin:/sbin"  # where runc may be, and a user's PATH does not lead


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is to be made. `sandbox` is one of SANDBOXES; `python` the caller's interpreter.

    `here` is the folder from which Metaflow looks for the local datastore; `step` is the one step
    that is to run again, on what the run has. Without `network` steps have a loopback interface
    alone.
    """

    sandbox: str
    workers: int
    python: Path
    environ: Mapping[str, str]
    here: Path
    step: str | None = None
    network: bool = True


def default_sandbox() -> str:
    """Where steps run if nobody says otherwise: in their images, as this machine can run them."""
    return "rootfs" if sys.platform == "linux" else "container"


def choose_sandbox(
    packaged: RunSource, request: RunOptions, folder: Path, store: Store, reporter: PlainReporter
) -> HostSandbox | RootfsSandbox | Engine | Runc:
    """Where the steps of the run in `folder` are to be; UsageError if that is not possible here."""
    environ = {**request.environ, **metaflow_settings(request.environ, request.here)}
    environ["MFBUILD_WORKDIR"] = str(folder / "work")
    folders = [folder, make_datastore(environ)]
    if any(parameter.type == "file" for parameter in packaged.spec.parameters):
        folders.append(make_files_root(environ))
    toolbox = lay_runtime(store)
    if request.sandbox == "host":
        if not request.network:
            hint = "use `--in rootfs` or `--in container`"
            raise UsageError("`--network none` is not possible with `--in host`", hint=hint)
        _note_pythons(packaged, request, reporter)
        return HostSandbox(request.python, toolbox, environ)
    assert packaged.bundle, "BUG: a flow that was not packaged has no images"
    if request.sandbox == "rootfs" and sys.platform != "linux":
        hint = "use `--in container`, or `--in host` for your own packages"
        raise UsageError("images can be run without a container on Linux only", hint=hint)
    images = StepImages(
        bundle=packaged.bundle,
        store=store,
        platform=host_platform(),
        steps=packaged.images,
        toolbox=toolbox,
        binds=tuple(Bind(str(path), writable=True) for path in folders),
        environ=environ,
        note=reporter.note,
        network=request.network,
    )
    if request.sandbox == "rootfs":
        return RootfsSandbox(images)
    from mfbuild.local.sandbox.container import containers

    return containers(images, f"{request.environ.get('PATH', '')}:{_SBIN}")


def _note_pythons(packaged: RunSource, request: RunOptions, reporter: PlainReporter) -> None:
    """Say which steps have another Python version here than in their images."""
    own = _version(request.python)
    for python in sorted(set(packaged.pythons.values()) - {own}):
        steps = ", ".join(step for step, version in packaged.pythons.items() if version == python)
        reporter.warn(f"{steps}: packaged with Python {python}, run with {own} here")


def _version(python: Path) -> str:
    """The major.minor version of an interpreter."""
    if python == Path(sys.executable).absolute():
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True)
    return done.stdout.strip()
