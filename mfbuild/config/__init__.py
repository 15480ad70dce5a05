"""BUILD.toml, MFBUILD_* and flags as one frozen Config."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfbuild.config.build_toml import WORKSPACE, read_table
from mfbuild.errors import Problem, UsageError
from mfbuild.oci.types import Platform

FILE = "BUILD.toml"
DEFAULT_BASE = "python3.11"
DEFAULT_PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm64"))
DEFAULT_DOMAINS = ("development", "staging", "production")
VARIABLES = ("registry", "base", "platforms", "pyc", "jobs", "store")
FLYTE_VARIABLES = ("project", "domain", "endpoint")


@dataclass(frozen=True, slots=True)
class Domain:
    """What a push to one Flyte domain uses; None = the workspace's own value.

    An endpoint that is to be spoken to without TLS begins with `http://`. `branches` are patterns
    of @project's branches (`prod`, `test.*`) that go to the domain; `resources` are for steps that
    ask for none.
    """

    name: str
    registry: str | None = None
    endpoint: str | None = None
    activate: bool = False
    service_account: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    metaflow: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """Overrides for one label: `//file.py` (a flow) or `//file.py:step`.

    `parallelism` is how many tasks of a flow run at once, 0 for no bound.
    """

    label: str
    base: str | None = None
    resources: Mapping[str, int | float] = field(default_factory=dict)
    parallelism: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that policy decides for one workspace.

    `root` is the folder that holds BUILD.toml, or the flow's folder where there is none; `store`
    the folder of the content-addressed store; `jobs` the number of actions that run at once.
    `overlap` is `warn` or `error`: what it is that two wheels of an environment bring different
    files for one path. `resources` are for steps that ask for none. `flyte_domain` is the person's
    own choice among `domains`; `environ` the environment as it was when the command began, which
    may hold secrets.
    """

    root: Path
    store: Path
    jobs: int
    environ: Mapping[str, str] = field(repr=False)
    registry: str | None = None
    base: str = DEFAULT_BASE
    platforms: tuple[Platform, ...] = DEFAULT_PLATFORMS
    pyc: bool = False
    overlap: str = "warn"
    resources: Mapping[str, int | float] = field(default_factory=dict)
    flyte_project: str | None = None
    flyte_domain: str | None = None
    flyte_endpoint: str | None = None
    domains: Mapping[str, Domain] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The BUILD.toml of the workspace, which there need not be."""
        return self.root / FILE

    def target(self, flow: str, step: str) -> Target:
        """What BUILD.toml says of one step: its own label's values over those of the flow's."""
        none = Target(label=f"{flow}:{step}")
        whole, own = self.targets.get(flow, none), self.targets.get(none.label, none)
        resources = {**whole.resources, **own.resources}
        return Target(none.label, own.base or whole.base, resources)


def find_root(start: Path) -> Path | None:
    """The nearest folder at or above `start` that holds a BUILD.toml."""
    return next((d for d in (start, *start.parents) if (d / FILE).is_file()), None)


def workspace_of(words: Sequence[str], env: Mapping[str, str]) -> Path:
    """The workspace root: the nearest BUILD.toml above the first flow, else that flow's folder.

    A label or a pattern starts from the current folder. MFBUILD_WORKSPACE is it, if it is set.
    """
    if said := env.get("MFBUILD_WORKSPACE"):
        return Path(said).absolute()
    first = next((w for w in words if not w.startswith("//")), None)
    # os.path.abspath keeps symlinks, as Metaflow does when it packages the flow's folder.
    here = Path.cwd() if first is None else Path(os.path.abspath(first)).parent  # noqa: PTH100
    return find_root(here) or here


def config_for(
    words: Sequence[str], env: Mapping[str, str], flags: Mapping[str, Any], *, cpus: int = 1
) -> Config:
    """The Config of the workspace of `words` (`workspace_of`), as `read_config` reads it."""
    return read_config(workspace_of(words, env), env, flags, cpus=cpus)


def read_config(
    root: Path, env: Mapping[str, str], flags: Mapping[str, Any], *, cpus: int = 1
) -> Config:
    """The Config of the workspace at `root`: flag > MFBUILD_* > BUILD.toml > user file > default.

    `flags` holds the values given on the command line (None = not given). UsageError names every
    unknown key and every value of the wrong kind, and a folder whose path is not UTF-8.
    """
    problems: list[Problem] = []
    try:
        str(root).encode()
    except UnicodeEncodeError:
        message = f"the path of the workspace, `{str(root)!a}`, is not UTF-8"
        raise UsageError(message, hint="rename the folder: bundles and keys name it") from None
    tables = [
        read_table(path, problems) for path in (user_file(env), root / FILE) if path.is_file()
    ]
    layers = [*tables, _from_env(env, problems), _from_flags(flags, problems)]
    UsageError.raise_for(problems)
    workspace, flyte = _merge(layers, "workspace"), _merge(layers, "flyte")
    domains = [_domain(name, values) for name, values in _merge_named(layers, "domain")]
    targets = [Target(label, **values) for label, values in _merge_named(layers, "target")]
    return Config(
        root=root,
        store=Path(workspace.get("store") or default_store(env)),
        jobs=workspace.get("jobs", cpus),
        environ=dict(env),
        registry=workspace.get("registry"),
        base=workspace.get("base", DEFAULT_BASE),
        platforms=_platforms(workspace.get("platforms")),
        pyc=workspace.get("pyc", False),
        overlap=workspace.get("overlap", "warn"),
        resources=workspace.get("resources", {}),
        flyte_project=flyte.get("project"),
        flyte_domain=flyte.get("domain"),
        flyte_endpoint=flyte.get("endpoint"),
        domains={d.name: d for d in domains} or {n: Domain(n) for n in DEFAULT_DOMAINS},
        targets={t.label: t for t in targets},
    )


def default_store(env: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/mfbuild`, or `~/.cache/mfbuild`."""
    base = env.get("XDG_CACHE_HOME") or ""
    return (Path(base) if base.startswith("/") else _home(env) / ".cache") / "mfbuild"


def user_file(env: Mapping[str, str]) -> Path:
    """The person's own defaults: `$XDG_CONFIG_HOME/mfbuild/config.toml`.

    UsageError if the person has no home folder: logins and indexes are looked for in it as well.
    """
    base, home = env.get("XDG_CONFIG_HOME") or "", _home(env)
    return (Path(base) if base.startswith("/") else home / ".config") / "mfbuild/config.toml"


def _home(env: Mapping[str, str]) -> Path:
    try:
        return Path(env["HOME"]) if env.get("HOME") else Path.home()
    except RuntimeError:  # a number that the machine knows no user of, as in many containers
        raise UsageError("this user has no home folder", hint="set HOME to a folder") from None


def _from_env(env: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in VARIABLES:
        text = env.get(f"MFBUILD_{name.upper()}")
        if text:
            found[name] = _parse_text(name, text)
            if reason := WORKSPACE[name](found[name]):
                problems.append(Problem(f"`MFBUILD_{name.upper()}` {reason}"))
    given = {k: env.get(f"MFBUILD_{k.upper()}") for k in FLYTE_VARIABLES}
    flyte = {k: value for k, value in given.items() if value}
    return {"workspace": found, "flyte": flyte}


def _parse_text(name: str, text: str) -> Any:
    if name == "platforms":
        return [p.strip() for p in text.split(",")]
    if name == "pyc":
        return {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text)
    if name == "jobs":
        return int(text) if text.isdigit() else text
    return text


def _from_flags(flags: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    given = {k: v for k, v in flags.items() if k in WORKSPACE and v is not None}
    for name, value in given.items():
        if reason := WORKSPACE[name](value):
            flag = "--platform" if name == "platforms" else f"--{name}"
            problems.append(Problem(f"`{flag}` {reason}"))
    return {"workspace": given}


def _merge(layers: Sequence[Mapping[str, Any]], table: str) -> dict[str, Any]:
    return {key: value for layer in layers for key, value in layer.get(table, {}).items()}


def _merge_named(
    layers: Sequence[Mapping[str, Any]], table: str
) -> list[tuple[str, dict[str, Any]]]:
    """The tables of `table` by name, each with the keys of every layer."""
    inner = [layer.get(table, {}) for layer in layers]
    return [(name, _merge(inner, name)) for name in dict.fromkeys(n for t in inner for n in t)]


def _platforms(value: Sequence[str] | None) -> tuple[Platform, ...]:
    if value is None:
        return DEFAULT_PLATFORMS
    return tuple(sorted({Platform.parse(text) for text in value}, key=str))


def _domain(name: str, value: Mapping[str, Any]) -> Domain:
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return Domain(name, **plain)
