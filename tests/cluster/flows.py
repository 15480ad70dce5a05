"""Flows on the engine: packaged, pushed and run; and what Metaflow's Client then sees of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.engine.model import Digest
from mfbuild.flyte.literals import literal
from mfbuild.flyte.names import CODE, PLAN
from mfbuild.flyte.resolve import Resolved, Site, closure, resolve
from mfbuild.flyte.templates import Compiled
from mfbuild.runtime.storage import S3
from tests.cluster.build import CACHE
from tests.cluster.engine import DOMAIN, PROJECT, Engine
from tests.cluster.executions import Result
from tests.cluster.kubernetes import SHARED
from tests.e2e.conftest import Runner
from tests.flyteadmin.double import Double
from tests.threeways.seen import USER, Seen, seen

MFBUILD = Runner(CACHE / "store")


def policy(engine: Engine, of_pods: Mapping[str, str] | None = None) -> str:
    """The BUILD.toml of a workspace whose domain is the engine's; `of_pods` replaces `settings`."""
    given = settings(engine) if of_pods is None else of_pods
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in given.items()]
    return f'[workspace]\nplatforms = ["linux/amd64"]\n[domain.{DOMAIN}.metaflow]\n{"".join(lines)}'


def admin_policy(engine: Engine, admin: Double, of_pods: Mapping[str, str] | None = None) -> str:
    """The same of a workspace that is pushed to the engine's registry, and to `admin`."""
    return (
        f'[flyte]\nproject = "{PROJECT}"\nendpoint = "http://{admin.endpoint}"\n'
        f'[domain.{DOMAIN}]\nregistry = "{engine.registry}/flows"\n{policy(engine, of_pods)}'
    )


def settings(engine: Engine) -> dict[str, str]:
    """Metaflow's settings for pods of the engine."""
    return {
        "default_datastore": "s3",
        "default_metadata": "local",
        "datastore_sysroot_s3": f"s3://{engine.bucket.name}/metaflow",
        "datastore_sysroot_local": SHARED,
        "s3_endpoint_url": engine.bucket.endpoint,
    }


def only_with_all(config: pytest.Config, name: str, first: Sequence[str]) -> None:
    """Skip the test of `name` that is not among the `first`, unless all were asked for."""
    if name not in first and not config.getoption("all"):
        pytest.skip(f"{name} runs with `scripts/test --cluster --all`")


def package(flow: str, workspace: Path) -> Bundle:
    """The bundle of a flow; packages are kept in the tests' cache."""
    (made,) = MFBUILD.package(flow, cwd=workspace, METAFLOW_USER=USER)
    return read_bundle(Path(made["path"]))


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
    settings = manifest.domains[DOMAIN].metaflow
    environment = {f"METAFLOW_{name.upper()}": value for name, value in settings.items()}
    templates = Compiled.decode(layout.blob(manifest.flyte.digest))
    person = json.dumps({"user": USER})
    site = Site(PROJECT, DOMAIN, images, environment, person=person)
    resolved = resolve(templates, site, version=manifest.version)
    code = upload(layout.blob(manifest.code.digest), engine)
    plan = upload(resolved.expansion_plan, engine) if resolved.expansion_plan else ""
    return resolved.with_addresses({CODE: code, PLAN: plan})


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


def variables(engine: Engine, metadata: Path) -> dict[str, str]:
    """Of a person's Metaflow that is set as the pods' is, but for its local metadata."""
    here = settings(engine) | {"datastore_sysroot_local": str(metadata)}
    named = {f"METAFLOW_{name.upper()}": value for name, value in here.items()}
    return {**named, **engine.bucket.pod_environment(), "METAFLOW_USER": USER}


def seen_on(engine: Engine, flow: str, *runs: str) -> list[Seen]:
    """Runs on the engine, through Metaflow's Client, artifacts read from the engine's bucket."""
    return seen(flow, runs, engine.shared, **variables(engine, engine.shared))
