"""What every environment carries from this interpreter: Metaflow, extensions, datastore clients.

Part of the probe: runs in the user's interpreter (3.8 or newer) and imports nothing of mfbuild.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module, metadata
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Json = dict[str, Any]

_DATASTORES = {
    "azure": ("azure-identity", "azure-storage-blob"),
    "gs": ("google-auth", "google-cloud-storage"),
    "local": (),
    "s3": ("boto3",),
}
_SECRETS = {
    "aws-secrets-manager": "boto3",
    "az-key-vault": "azure-keyvault-secrets",
    "gcp-secret-manager": "google-cloud-secret-manager",
}
_ALWAYS = ("requests",)
_METAFLOW_NEEDS = ("boto3", "requests")
_OWN = "mfbuild"


def host(
    state: Any, datastores: Sequence[str], steps: Sequence[Json], metaflow: list[Json]
) -> Json:
    """Host as JSON; `metaflow` are Metaflow's module files, for when it comes from no wheel."""
    types = {state.flow_datastore.TYPE, *datastores}
    needed = {*_ALWAYS, *(package for t in types for package in _packages_of(t))}
    needed.update(_SECRETS[t] for t in _secret_types(steps) if t in _SECRETS)
    requirements = {_pin(name) for name in needed}
    sources: list[Json] = []
    core = _metaflow_wheel()
    if core is None:
        sources.append({"name": "metaflow", "files": metaflow})
        requirements.update(_needs_of("metaflow") or map(_pin, _METAFLOW_NEEDS))
    else:
        requirements.add(_pin(core.metadata["Name"]))
    for name, files in _extensions().items():
        if files is None:
            requirements.add(_pin(name))
        else:
            sources.append({"name": name, "files": files})
            requirements.update(_needs_of(name))
    dropped = {_OWN, *(_normal(source["name"]) for source in sources)}
    return {
        "python": _python_version(),
        "metaflow_version": core.version if core else _metaflow_version(),
        "datastore": state.flow_datastore.TYPE,
        "requirements": sorted(r for r in requirements if _normal(_name(r)) not in dropped),
        "sources": sorted(sources, key=lambda source: str(source["name"])),
    }


def _packages_of(datastore: str) -> Sequence[str]:
    """The client packages of a datastore type; an extension names its own to Metaflow."""
    if datastore in _DATASTORES:
        return _DATASTORES[datastore]
    config = import_module("metaflow.metaflow_config")
    return sorted(config.get_pinned_conda_libs(_python_version(), datastore))


def _secret_types(steps: Sequence[Json]) -> set[str]:
    """The backends that @secrets names: `type.id`, or an object with `type`."""
    sources = [source for step in steps for source in step["secrets"]]
    return {str(s.get("type") if isinstance(s, dict) else s).split(".", 1)[0] for s in sources}


def dist_info(
    name: str, version: str, requires: Sequence[str], files: Sequence[str]
) -> dict[str, str]:
    """The files that make `files` an installed distribution, by name (packaging.python.org).

    Metaflow tells extensions in one folder apart by them, and loads one after those it requires.
    """
    folder = f"{_normal(name).replace('-', '_')}-{version}.dist-info"
    said = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    said += [f"Requires-Dist: {needed}" for needed in requires]
    tops = sorted({path.split("/", 1)[0] for path in files})
    record = sorted([*files, *(f"{folder}/{n}" for n in ("METADATA", "RECORD", "top_level.txt"))])
    lines = {
        "METADATA": said,
        "RECORD": [f"{path},," for path in record],
        "top_level.txt": tops,
    }
    return {f"{folder}/{n}": "".join(f"{x}\n" for x in text) for n, text in lines.items()}


def _extensions() -> dict[str, list[Json] | None]:
    """Metaflow's extensions: distribution -> None if it is a wheel, else its module files.

    What is on PYTHONPATH is loaded last, and so requires all that were before it.
    """
    support = import_module("metaflow.extension_support")
    found: dict[str, list[Json] | None] = {}
    before: list[str] = []
    for key, description in support.package_mfext_all_descriptions().items():
        organizations = sorted({path.split("/", 1)[0] for path in description["files"]})
        name = key
        if key.startswith("_pythonpath_"):  # a number of this process
            name = "metaflow_extensions." + "-".join(organizations)
        if _normal(name) == _OWN or organizations == [_OWN]:
            before.append(_OWN)
            continue
        found[name] = None
        if not _wheel(name):
            files = [_file(path, arcname) for path, arcname in support.package_mfext_package(key)]
            requires = sorted(before) if name != key else _requires(name)
            files += _as_installed(name, description["version"], requires, files)
            found[name] = sorted(files, key=lambda f: str(f["arcname"]))
        before.append(name)
    return found


def _as_installed(
    name: str, version: str, requires: Sequence[str], files: Sequence[Json]
) -> list[Json]:
    """The generated files of `dist_info`; what no distribution is has the version 0."""
    known = version if re.match(r"\d[\w.!+-]*\Z", str(version)) else "0"
    texts = dist_info(name, known, requires, [str(f["arcname"]) for f in files])
    return [
        {"arcname": arcname, "path": None, "text": text, "executable": False}
        for arcname, text in texts.items()
    ]


def _requires(name: str) -> list[str]:
    return sorted(_name(line) for line in metadata.requires(name) or [] if "extra" not in line)


def _file(path: str, arcname: str) -> Json:
    executable = bool(Path(path).stat().st_mode & 0o111)
    path = str(Path(path).absolute())
    return {"arcname": arcname, "path": path, "text": None, "executable": executable}


def _metaflow_wheel() -> metadata.Distribution | None:
    """The installed wheel that the imported metaflow is from, under whatever name."""
    imported = Path(str(import_module("metaflow").__file__)).resolve()
    candidates = [_wheel("metaflow"), *map(_wheel, _providers())]
    for distribution in candidates:
        if distribution is not None:
            path = distribution.locate_file("metaflow/__init__.py")
            if Path(str(path)).resolve() == imported:
                return distribution
    return None


def _providers() -> Iterator[str]:
    """The other distributions that say they provide metaflow."""
    for distribution in metadata.distributions():
        if "metaflow" in (distribution.read_text("top_level.txt") or "").split():
            yield distribution.metadata["Name"]


def _wheel(name: str) -> metadata.Distribution | None:
    """The distribution `name` if it was installed from a wheel and not in editable mode."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    if distribution.read_text("WHEEL") is None:
        return None
    direct = loads(distribution.read_text("direct_url.json") or "{}")
    return None if direct.get("dir_info", {}).get("editable") else distribution


def _needs_of(name: str) -> list[str]:
    """What distribution `name` requires, at the versions that are installed."""
    try:
        declared = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    needs = []
    for line in declared:
        requirement, _, marker = line.partition(";")
        if not re.search(r"\bextra\b", marker):
            installed = _wheel(_name(requirement))
            extras = re.match(r"[\w.-]+\s*(\[[^\]]*\])?", requirement.strip())
            if installed and extras and "@" not in requirement:
                requirement = f"{extras.group().strip()}=={installed.version}"
            needs.append("; ".join(filter(None, (requirement.strip(), marker.strip()))))
    return needs


def _pin(name: str) -> str:
    distribution = _wheel(name)
    return f"{name}=={distribution.version}" if distribution else name


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement.strip())
    return found.group() if found else requirement


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _metaflow_version() -> str:
    return str(import_module("metaflow.metaflow_version").get_version(public=True))


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:2]))
