"""The depfile: all that a loaded flow depends on, and a cheap check that none of it changed."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mfbuild
from mfbuild.engine.kept import read_kept, write_kept
from mfbuild.engine.statcache import GRANULARITY_NS, StatCache, stat_of

_SCHEMA = 1
# What Metaflow, Python and mfbuild write themselves next to a flow; none of it is an input.
_OWN_NAMES = frozenset({".metaflow", ".mfbuild", "BUILD.lock", "__pycache__"})
# Every variable with such a name counts, read or not: the interpreter reads its own unseen.
_PREFIXES = ("METAFLOW_", "PYTHON")
# A shell changes these from command to command.
_VOLATILE = frozenset({"OLDPWD", "SHLVL", "_"})

_Directory = tuple[int, int, int, str]  # mtime_ns, inode, listed at (ns), sha256 of the names


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the child read, by absolute path and by name.

    `files`: path -> [size, mtime_ns, ctime_ns, inode] when it was first read, None if it was not
    there. `directories`: path -> its names when it was first listed (a folder ends with `/`), or
    None if it was not there.
    `stamps`: paths of which the mtime alone counts (site-packages, folders outside the workspace,
    the interpreter). `environment`: names read; `whole_environment` if all of it was.
    """

    files: Mapping[str, tuple[int, ...] | None]
    directories: Mapping[str, tuple[str, ...] | None]
    stamps: tuple[str, ...]
    environment: tuple[str, ...]
    whole_environment: bool


def path(cache_dir: Path, key: Mapping[str, Any]) -> Path:
    """Where the depfile of a load lives: `key` is all that the caller asked for, as JSON."""
    text = json.dumps([_SCHEMA, mfbuild.__version__, _probe_digest(), key], sort_keys=True)
    return cache_dir / "flows" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def write(file: Path, inputs: Inputs, flow: Any, env: Mapping[str, str]) -> bool:
    """Record `flow` (JSON) with its inputs; OSError if that cannot be written.

    False, and nothing is recorded, if an input changed while the flow was loaded.
    """
    stat = StatCache()
    files = {name: _digest(stat, name) for name in inputs.files}
    directories = {name: _listing(name) for name in inputs.directories}
    if any(stat_or_none(name) != seen for name, seen in inputs.files.items()):
        return False
    for name, names in inputs.directories.items():
        if _names_of(directories[name]) != (None if names is None else _names_digest(names)):
            return False
    salt = secrets.token_hex(16)
    document = {
        "salt": salt,
        "environment": _environment(inputs.environment, inputs.whole_environment, env, salt),
        "files": files,
        "configs": {name: _digest(stat, name) for name in metaflow_configs(env)},
        "directories": directories,
        "stamps": {name: _stamp(name) for name in inputs.stamps},
        "stat": stat.to_json(),
        "flow": flow,
    }
    write_kept(file, json.dumps(document).encode())
    return True


def check(file: Path, env: Mapping[str, str]) -> Any:
    """The recorded flow (a JSON object) if all its inputs are as they were, else why not (str)."""
    try:
        document = json.loads(read_kept(file))
        stat = StatCache.from_json(document["stat"])
        listed = False
        for changed in (_changed_environment, _changed_configs, _changed_stamps):
            if reason := changed(document, env, stat):
                return reason
        for name, digest in document["files"].items():
            if _digest(stat, name) != digest:
                return f"`{name}` changed"
        for name, recorded in document["directories"].items():
            known = recorded and tuple(recorded)
            listing = _listing(name, known)
            if _names_of(listing) != _names_of(known):
                return f"files were added to or removed from `{name}`"
            listed = listed or listing != known
            document["directories"][name] = listing
    except FileNotFoundError:
        return "never loaded before"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "its depfile is damaged"
    if stat.changed or listed:
        _renew(file, document, stat)
    return document["flow"]


def metaflow_configs(env: Mapping[str, str]) -> tuple[str, ...]:
    """The settings files that Metaflow reads here: the profile's, and the project's if any.

    As metaflow_config_funcs.init_config and init_local_config choose them.
    """
    home = env.get("METAFLOW_HOME", "~/.metaflowconfig")
    if home.startswith("~/") and env.get("HOME"):
        home = env["HOME"] + home[1:]
    profile = env.get("METAFLOW_PROFILE")
    name = f"config_{profile}.json" if profile else "config.json"
    found = [os.path.join(os.path.expanduser(home), name)]  # noqa: PTH111, PTH118
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".metaflow").is_dir():
            found.append(str(folder / ".metaflow" / "config.json"))
            break
    return tuple(found)


def _changed_environment(document: Any, env: Mapping[str, str], _: StatCache) -> str | None:
    recorded = document["environment"]
    whole = "*" in recorded
    now = _environment([n for n in recorded if n != "*"], whole, env, document["salt"])
    for name in sorted(recorded.keys() | now.keys()):
        if recorded.get(name) != now.get(name):
            return "the environment changed" if name == "*" else f"`{name}` changed"
    return None


def _changed_configs(document: Any, env: Mapping[str, str], stat: StatCache) -> str | None:
    now = {name: _digest(stat, name) for name in metaflow_configs(env)}
    return None if now == document["configs"] else "Metaflow's settings changed"


def _changed_stamps(document: Any, _: Mapping[str, str], __: StatCache) -> str | None:
    for name, stamp in document["stamps"].items():
        if _stamp(name) != stamp:
            return f"`{name}` changed"
    return None


def _environment(
    names: Iterable[str], whole: bool, env: Mapping[str, str], salt: str
) -> dict[str, str | None]:
    """Name -> salted digest (a value may be a secret), None if unset; `*` stands for all."""
    counted = {*names, *(name for name in env if name.startswith(_PREFIXES))}
    digests = {n: _salted(env[n], salt) if n in env else None for n in counted}
    if whole:
        everything = sorted((n, v) for n, v in env.items() if n not in _VOLATILE)
        digests["*"] = _salted(json.dumps(everything), salt)
    return digests


def _salted(value: str, salt: str) -> str:
    data = value.encode(errors="surrogateescape")
    return hashlib.blake2b(data, key=salt.encode(), digest_size=16).hexdigest()


def _digest(stat: StatCache, name: str) -> str | None:
    try:
        return stat.sha256(name)
    except OSError:
        return None


def stat_or_none(name: str) -> tuple[int, ...] | None:
    """[size, mtime_ns, ctime_ns, inode] of the path `name`, None if there is nothing."""
    try:
        return stat_of(name)
    except OSError:
        return None


def _stamp(name: str) -> list[int] | None:
    stat = stat_or_none(name)
    return None if stat is None else [stat[1], stat[3]]


def _listing(name: str, known: tuple[Any, ...] | None = None) -> _Directory | None:
    """How folder `name` is now; not listed again if its mtime is that of `known`, and settled."""
    try:
        began = time.time_ns()
        _, mtime, _, inode = stat_of(name)
        if known is not None and known[:2] == (mtime, inode) and mtime < known[2] - GRANULARITY_NS:
            return mtime, inode, known[2], known[3]
        with os.scandir(name) as entries:
            names = [e.name + "/" if e.is_dir() else e.name for e in entries]
    except OSError:
        return None
    return mtime, inode, began, _names_digest(names)


def _names_of(listing: tuple[Any, ...] | None) -> str | None:
    return None if listing is None else listing[3]


def _names_digest(names: Iterable[str]) -> str:
    kept = sorted(name for name in names if name.rstrip("/") not in _OWN_NAMES)
    return hashlib.sha256("\0".join(kept).encode(errors="surrogateescape")).hexdigest()


def _renew(file: Path, document: Any, stat: StatCache) -> None:
    """Keep what was hashed and listed again, so that the next check need not."""
    document["stat"] = stat.to_json()
    try:
        write_kept(file, json.dumps(document).encode())
    except OSError:
        return


def _probe_digest() -> str:
    """The digest of the code that makes the result: this folder's modules."""
    digest = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()
