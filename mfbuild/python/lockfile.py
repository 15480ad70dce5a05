"""BUILD.lock: a Lock as JSON that people review in diffs, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mfbuild.engine.foreign import parse_json
from mfbuild.engine.model import Digest, canonical
from mfbuild.errors import Problem, ResolveError, named
from mfbuild.files import disk_errors, words_of, write_atomically
from mfbuild.oci.types import Platform
from mfbuild.python.model import Lock, LockedEnvironment, LockedWheel, Request

FORMAT = 1
_HINT = "restore it, or remove it: `mfbuild lock` then makes a new one"
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!]*(-[A-Za-z0-9._+!]+){4,5}\.whl\Z")
_SDIST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.(tar\.gz|zip)\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
_LISTS = ("base", "requirements", "without")


def read_lock(path: Path) -> Lock:
    """The lock at `path`; an empty one where there is no file.

    ResolveError when it is not a lock, is of another format, or was changed by hand or a merge.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Lock({})
    except (OSError, UnicodeDecodeError) as error:
        raise ResolveError(
            f"the lock cannot be read: {words_of(error)}", where=str(path)
        ) from error
    return parse(text, str(path))


def write_lock(path: Path, lock: Lock) -> None:
    """Replace the file at `path` by `lock`, all or nothing; ResolveError as for `render`."""
    text = render(lock)
    with disk_errors(ResolveError, "the lock cannot be written", path):
        write_atomically(path, text.encode(), mode=None, durable=True)


def render(lock: Lock) -> str:
    """BUILD.lock's text: sorted, with the wheels in one table, one line each.

    ResolveError when two environments hold different files of the same name.
    """
    table = _table(lock)
    environments = [_environment(lock.environments[d]) for d in sorted(lock.environments)]
    content = {"version": FORMAT, "environments": environments, "wheels": table}
    listed = json.dumps(environments, indent=2, ensure_ascii=False)
    lines = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in table)
    return (
        "{\n"
        f'  "version": {FORMAT},\n'
        f'  "checksum": "{_checksum(content)}",\n'
        f'  "environments": {_indented(listed)},\n'
        f'  "wheels": [{_block(lines)}]\n'
        "}\n"
    )


def parse(text: str, where: str) -> Lock:
    """The lock in `text`; `where` is what errors call the file."""
    try:
        content = parse_json(text)
    except json.JSONDecodeError as error:
        line = f"{where}:{error.lineno}"
        raise ResolveError(f"the lock is not JSON: {error.msg}", where=line, hint=_HINT) from error
    except ValueError:  # a number of too many digits, lists in lists in lists
        raise ResolveError("this is not a lock", where=where, hint=_HINT) from None
    if not isinstance(content, dict) or "version" not in content:
        raise ResolveError("this is not a lock", where=where, hint=_HINT)
    if content["version"] != FORMAT:
        message = f"the lock has the format `{content['version']}`, this mfbuild reads `{FORMAT}`"
        raise ResolveError(message, where=where, hint="use the mfbuild that wrote it")
    if content.pop("checksum", None) != str(_checksum(content)):
        message = "the lock was changed by hand or by a merge: its checksum does not match"
        raise ResolveError(message, where=where, hint=_HINT)
    try:
        wheels = {
            entry["filename"]: check_wheel(LockedWheel(**entry)) for entry in content["wheels"]
        }
        found = [_read_environment(entry, wheels) for entry in content["environments"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"the lock is damaged: {error}"
        raise ResolveError(message, where=where, hint=_HINT) from error
    return Lock({environment.request.digest(): environment for environment in found})


def check_wheel(wheel: LockedWheel) -> LockedWheel:
    """`wheel`, if it can be written and read again; ValueError otherwise.

    A file name has five or six parts (PEP 427) and is never a path.
    """
    _need(_matches(_WHEEL, wheel.filename), "name of a wheel", wheel.filename)
    _need(_matches(_NAME, wheel.name), "normalized name", wheel.name)
    _need(isinstance(wheel.version, str), "version", wheel.version)
    _need(type(wheel.size) is int and wheel.size >= 0, "size", wheel.size)
    _need(_matches(_SHA256, wheel.sha256), "sha256", wheel.sha256)
    if wheel.sdist is not None:
        _need(_matches(_SDIST, wheel.sdist), "name of an sdist", wheel.sdist)
        _need(_matches(_SHA256, wheel.sdist_sha256), "sha256", wheel.sdist_sha256)
    return wheel


def conflicts(lock: Lock) -> list[Problem]:
    """A problem for each file name with different contents, and for files that share a hash."""
    seen: dict[str, LockedWheel] = {}
    problems = {}
    for wheel in lock.wheels():
        if seen.setdefault(wheel.filename, wheel) != wheel:
            problems[wheel.filename] = Problem(
                f"`{wheel.filename}` is locked with two different contents",
                hint=f"the index replaced it: `mfbuild lock --upgrade {wheel.name}`",
            )
    files = [(wheel.filename, wheel.sha256) for wheel in seen.values()]
    files += [(w.sdist, w.sdist_sha256) for w in seen.values() if w.sdist and w.sdist_sha256]
    return [*problems.values(), *shared_hashes(files)]


def shared_hashes(files: Iterable[tuple[str, str]]) -> list[Problem]:
    """A problem for each sha256 that several files have, of (file name, sha256).

    An index that says so does not know its files; the resolver, which tells files apart by their
    hashes, then takes what one package needs for what another one does.
    """
    names: dict[str, set[str]] = {}
    for name, sha256 in files:
        names.setdefault(sha256, set()).add(name)
    return [
        Problem(
            f"{named(sorted(same))} have the same sha256 `{sha256}`",
            hint="the package index is wrong about its files: use another one",
        )
        for sha256, same in sorted(names.items())
        if len(same) > 1
    ]


def _table(lock: Lock) -> list[dict[str, Any]]:
    ResolveError.raise_for(conflicts(lock))
    return [_entry(wheel) for wheel in sorted(set(lock.wheels()), key=lambda w: w.filename)]


def _entry(wheel: LockedWheel) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": wheel.filename,
        "name": wheel.name,
        "version": wheel.version,
        "size": wheel.size,
        "sha256": wheel.sha256,
    }
    if wheel.sdist:
        entry |= {"sdist": wheel.sdist, "sdist_sha256": wheel.sdist_sha256}
    return entry


def _environment(environment: LockedEnvironment) -> dict[str, Any]:
    request = environment.request
    platforms = sorted(environment.wheels, key=str)
    return {
        "request": str(request.digest()),
        "python": request.python,
        "glibc": request.glibc,
        **{name: list(getattr(request, name)) for name in _LISTS},
        "wheels": {str(p): [w.filename for w in environment.wheels[p]] for p in platforms},
    }


def _read_environment(
    entry: Mapping[str, Any], wheels: Mapping[str, LockedWheel]
) -> LockedEnvironment:
    lists = {name: _strings(entry[name]) for name in _LISTS}
    request = Request(python=_string(entry["python"]), glibc=_string(entry["glibc"]), **lists)
    _need(entry["request"] == str(request.digest()), "request", entry["request"])
    found = {
        Platform.parse(platform): tuple(wheels[name] for name in names)
        for platform, names in entry["wheels"].items()
    }
    return LockedEnvironment(request, found)


def _checksum(content: Mapping[str, Any]) -> Digest:
    return Digest.of(canonical(content).encode())


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _block(lines: str) -> str:
    return f"\n{lines}\n  " if lines else ""


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and bool(pattern.match(value))


def _need(condition: bool, what: str, value: object) -> None:
    if not condition:
        raise ValueError(f"`{value}` is not a {what}")


def _string(value: object) -> str:
    _need(isinstance(value, str), "string", value)
    return str(value)


def _strings(value: object) -> tuple[str, ...]:
    _need(isinstance(value, list), "list", value)
    return tuple(_string(item) for item in value)  # type: ignore[attr-defined]
