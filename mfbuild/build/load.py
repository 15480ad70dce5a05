"""The stage load: flow files become FlowSpecs, and what each of their steps needs is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from mfbuild.bases.folder import load_base
from mfbuild.bases.model import Base
from mfbuild.build.environments import (
    StepNeed,
    base_names,
    check_targets,
    datastores,
    other_patches,
    step_needs,
)
from mfbuild.build.labels import find_flow, find_flows, flow_label
from mfbuild.build.session import Session
from mfbuild.config import FILE
from mfbuild.errors import FlowError
from mfbuild.flow.load import Loaded, load_flow
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.refuse import refuse


@dataclass(frozen=True, slots=True)
class LoadedFlow:
    """A flow and what each of its steps needs."""

    label: str
    spec: FlowSpec
    needs: Mapping[str, StepNeed]


_REST = (
    "mfbuild.build.analyze",
    "mfbuild.build.bundle",
    "mfbuild.build.digests",
    "mfbuild.build.execute",
    "mfbuild.build.lock",
    "mfbuild.build.overlaps",
    "concurrent.futures.thread",
    "deflate",
)
"""What a build imports after this stage, where it has something to do."""


def load(session: Session, words: Sequence[str]) -> tuple[LoadedFlow, ...]:
    """The flows that `words` name as data, with each step's base and request.

    One child process for each flow that changed; the other stages are imported while it runs.
    UsageError, FlowError.
    """
    config, bases = session.config, dict[str, Base]()
    for target in config.targets:
        if not (config.root / target[2:].partition(":")[0]).is_file():
            session.reporter.warn(f"there is no flow for the target `{target}` of {FILE}")
    return tuple(_loaded(session, file, bases) for file in find_flows(words, config.root))


def load_one(session: Session, word: str) -> LoadedFlow:
    """The one flow that `word` names; errors as of `load`, and for several."""
    (flow,) = load(session, [str(find_flow(word, session.config.root))])
    return flow


def _loaded(session: Session, file: Path, bases: dict[str, Base]) -> LoadedFlow:
    """One flow; `bases` gains those that it is the first to use."""
    config = session.config
    label = flow_label(file, config.root)
    spec = _load(session, file, label).spec
    _check(session, spec)
    check_targets(spec, label, config)
    names = base_names(spec, label, config)
    for name in sorted(set(names.values()) - bases.keys()):
        bases[name] = _base(session, name)
    needs = step_needs(spec, names, bases)
    for warning in other_patches(spec, needs):
        session.reporter.warn(f"{warning.message} ({warning.where})")
    return LoadedFlow(label, spec, needs)


def _check(session: Session, spec: FlowSpec) -> None:
    """FlowError for what Flyte cannot do; a warning for what is done otherwise than asked."""
    problems, warnings = refuse(spec)
    for warning in warnings:
        where = f" ({warning.where})" if warning.where else ""
        session.reporter.warn(f"{warning.message}{where}")
    FlowError.raise_for(problems)


def _base(session: Session, name: str) -> Base:
    config = session.config
    if "@sha256:" in name:
        from mfbuild.bases.by_digest import referenced_base
        from mfbuild.oci.foreign import foreign_resolver

        resolve = foreign_resolver(config.environ)
        return referenced_base(name, config.platforms, config.store, resolve, session.reporter.warn)
    return load_base(name, config.root, config.platforms)


def _load(session: Session, file: Path, label: str) -> Loaded:
    config, options = session.config, session.options
    loaded = load_flow(
        file,
        workspace=config.root,
        python=options.python,
        options=options.flow_options,
        cache_dir=config.store,
        refresh=options.refresh,
        datastores=datastores(config),
        env=config.environ,
        meanwhile=_import_the_rest,
    )
    if loaded.reason:
        session.reporter.note(f"loaded {label} ({loaded.reason})")
    return loaded


def _import_the_rest() -> None:
    for name in _REST:
        import_module(name)
