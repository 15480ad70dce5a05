"""Flows on the engine: packaged, pushed and run; and what Metaflow's Client then sees of a run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.engine.model import Digest
from mfbuild.flyte.compile import Compiled
from mfbuild.flyte.literals import literal
from mfbuild.flyte.resolve import Resolved, Site, closure, resolve
from mfbuild.runtime.storage import S3
from tests.cluster.build import CACHE
from tests.cluster.engine import DOMAIN, PROJECT, Engine
from tests.cluster.executions import Result
from tests.cluster.kubernetes import SHARED

FOLDER = Path(__file__).parents[1] / "flows"
FLOWS = {
    file.stem: file for file in FOLDER.glob("*.py") if file.stem not in {"gang", "inherited_base"}
}
"""Every flow but one that Flyte cannot run (and a file that is none)."""
SETTINGS = {"packages": {}, "cpu": 1, "python": "3.11"}
"""What settings.json says here: no more CPUs than a small machine has."""
USER = "tester"


@dataclass(frozen=True)
class Seen:
    """A run through Metaflow's Client.

    By step: of each task its place in foreaches, attempts, whether it succeeded, and artifacts.
    """

    successful: bool
    tasks: Mapping[str, Sequence[tuple[tuple[int, ...], int, bool, Mapping[str, Any]]]]

    @property
    def attempts(self) -> int:
        """How many attempts there were of all steps that a user wrote."""
        own = (tasks for step, tasks in self.tasks.items() if step != "_parameters")
        return sum(attempts for tasks in own for _, attempts, _, _ in tasks)


def workspace(folder: Path, engine: Engine) -> Path:
    """A workspace with all flows, whose domain is the engine's."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__", "gang.py"))
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    # With @pypi Metaflow's own run would make an environment, by a program that it downloads.
    configured = folder / "configured.py"
    source = configured.read_text().splitlines(keepends=True)
    configured.write_text("".join(s for s in source if not s.startswith("@pypi_base(")))
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings(engine).items()]
    (folder / "BUILD.toml").write_text(
        f'[workspace]\nplatforms = ["linux/amd64"]\n[domain.{DOMAIN}.metaflow]\n{"".join(lines)}'
    )
    return folder


def settings(engine: Engine) -> dict[str, str]:
    """Metaflow's settings for pods of the engine."""
    return {
        "default_datastore": "s3",
        "default_metadata": "local",
        "datastore_sysroot_s3": f"s3://{engine.bucket.name}/metaflow",
        "datastore_sysroot_local": SHARED,
        "s3_endpoint_url": engine.bucket.endpoint,
    }


def package(file: Path) -> Bundle:
    """The bundle of a flow; packages are kept in the tests' cache."""
    done = subprocess.run(
        [sys.executable, "-m", "mfbuild", "package", "--json", "-q", file.name],
        cwd=file.parent,
        env={**os.environ, "MFBUILD_STORE": str(CACHE / "store"), "METAFLOW_USER": USER},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (made,) = json.loads(done.stdout)["bundles"]
    return read_bundle(file.parent / made["path"])


def push(bundle: Bundle, engine: Engine) -> Resolved:
    """Put the images into the registry, the code and the plan into the bucket."""
    manifest, layout = bundle.manifest, bundle.layout
    repository = manifest.flow.lower()
    pushed: dict[Digest, str] = {}
    for name, step in manifest.steps.items():
        if step.image.digest not in pushed:
            source = f"oci:{layout.path}:{name}"
            pushed[step.image.digest] = engine.push(source, repository)
    images = {name: pushed[step.image.digest] for name, step in manifest.steps.items()}
    settings = manifest.domains[DOMAIN]["metaflow"]
    environment = {f"METAFLOW_{name.upper()}": str(value) for name, value in settings.items()}
    templates = Compiled.decode(layout.blob(manifest.flyte.digest))
    site = Site(PROJECT, DOMAIN, images, environment)
    resolved = resolve(templates, site, version=manifest.version)
    code = upload(layout.blob(manifest.code.digest), engine)
    plan = upload(json.dumps(resolved.plan).encode(), engine) if resolved.plan else ""
    return resolved.with_addresses(code=code, plan=plan, person=json.dumps({"user": USER}))


def upload(data: bytes, engine: Engine) -> str:
    """Put `data` into the bucket; its address, `<url>#sha256=<hex>`."""
    digest = Digest.of(data).hex
    url = f"s3://{engine.bucket.name}/push/{digest}"
    S3(engine.bucket.pod_environment()).put(url, data)
    return f"{url}#sha256={digest}"


def start(resolved: Resolved, engine: Engine, **parameters: str | int | float | bool) -> Result:
    """Run the launch plan, as flyteadmin does: with its fixed inputs, and defaults for the rest."""
    plan = resolved.launch_plan
    defaults = {
        name: parameter.default
        for name, parameter in plan.default_inputs.parameters.items()
        if not parameter.required
    }
    given = {name: literal(value) for name, value in parameters.items()}
    inputs = LiteralMap(literals={**defaults, **given, **plan.fixed_inputs.literals})
    return engine.run(closure(resolved), inputs, parallelism=plan.max_parallelism)


def run_here(file: Path, folder: Path, *options: str) -> str:
    """The id of a run by Metaflow itself, `python flow.py run`, with its datastore in `folder`."""
    id_file = folder / "id"
    done = subprocess.run(
        [sys.executable, file, "--no-pylint", "run", "--run-id-file", id_file, *options],
        cwd=file.parent,
        env=_environment(METAFLOW_DATASTORE_SYSROOT_LOCAL=str(folder)),
        capture_output=True,
        text=True,
    )
    assert id_file.exists(), done.stderr  # a run that fails has one too
    return id_file.read_text()


def seen_here(flow: str, run: str, folder: Path) -> Seen:
    """A run whose datastore is in `folder`, through Metaflow's Client."""
    return _seen(flow, run, METAFLOW_DATASTORE_SYSROOT_LOCAL=str(folder))


def seen_on(engine: Engine, flow: str, result: Result) -> Seen:
    """A run on the engine, through Metaflow's Client, artifacts read from the engine's bucket."""
    return _seen(
        flow,
        f"flyte-{result.execution}",
        METAFLOW_DEFAULT_DATASTORE="s3",
        METAFLOW_DATASTORE_SYSROOT_S3=f"s3://{engine.bucket.name}/metaflow",
        METAFLOW_DATASTORE_SYSROOT_LOCAL=str(engine.shared),
        METAFLOW_S3_ENDPOINT_URL=engine.bucket.endpoint,
        **engine.bucket.pod_environment(),
    )


def _seen(flow: str, run: str, **settings: str) -> Seen:
    script = Path(__file__).with_name("client.py")
    done = subprocess.run(
        [sys.executable, script, flow, run], env=_environment(**settings), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return Seen(*pickle.loads(done.stdout))


def _environment(**settings: str) -> dict[str, str]:
    return {**os.environ, "METAFLOW_USER": USER, "METAFLOW_DEFAULT_METADATA": "local", **settings}
