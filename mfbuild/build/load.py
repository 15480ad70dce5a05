"""The first stage of `package`: flow files become FlowSpecs, and their steps' needs known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mfbuild.bases.folder import load_base
from mfbuild.bases.model import Base
from mfbuild.build.environments import StepNeed, base_names, check_targets, datastores, step_needs
from mfbuild.build.labels import flow_label
from mfbuild.build.session import Session
from mfbuild.config import FILE, Config
from mfbuild.errors import FlowError
from mfbuild.flow.load import Loaded, load
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.refuse import refuse


@dataclass(frozen=True, slots=True)
class LoadedFlow:
    """A flow and what each of its steps needs."""

    label: str
    spec: FlowSpec
    needs: Mapping[str, StepNeed]


def load_flows(
    session: Session, files: Sequence[Path], meanwhile: Callable[[], None] = lambda: None
) -> tuple[LoadedFlow, ...]:
    """Every flow as data, with its steps' bases and requests; one child for each that changed.

    `meanwhile` is called while a child runs.
    """
    config, bases = session.config, dict[str, Base]()
    for target in config.targets:
        if not (config.root / target[2:].partition(":")[0]).is_file():
            session.reporter.warn(f"there is no flow for the target `{target}` of {FILE}")
    flows = []
    for file in files:
        label = flow_label(file, config.root)
        spec = _load(session, file, label, meanwhile).spec
        _check(session, spec)
        check_targets(spec, label, config)
        names = base_names(spec, label, config)
        for name in sorted(set(names.values()) - bases.keys()):
            bases[name] = _base(config, name)
        flows.append(LoadedFlow(label, spec, step_needs(spec, names, bases)))
    return tuple(flows)


def _check(session: Session, spec: FlowSpec) -> None:
    """FlowError for what Flyte cannot do; a warning for what is done otherwise than asked."""
    problems, warnings = refuse(spec)
    for warning in warnings:
        where = f" ({warning.where})" if warning.where else ""
        session.reporter.warn(f"{warning.message}{where}")
    if problems:
        raise FlowError.all_of(problems)


def _base(config: Config, name: str) -> Base:
    if "@sha256:" in name:
        from mfbuild.bases.by_digest import referenced_base

        return referenced_base(name, config.platforms, config.store)
    return load_base(name, config.root, config.platforms)


def _load(session: Session, file: Path, label: str, meanwhile: Callable[[], None]) -> Loaded:
    config, options = session.config, session.options
    loaded = load(
        file,
        workspace=config.root,
        python=options.python,
        options=options.flow_options,
        cache_dir=config.store,
        refresh=options.refresh,
        datastores=datastores(config),
        env=config.environ,
        meanwhile=meanwhile,
    )
    if loaded.reason:
        session.reporter.note(f"loaded {label} ({loaded.reason})")
    return loaded
