"""Says when another package is `flyte` to Metaflow too: the last that it finds wins, silently."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

_OWN = "metaflow_extensions.mfbuild."
_CATEGORIES = {
    "cli": "`python flow.py flyte`",
    "step_decorator": "`--with flyte`",
    "flow_decorator": "@flyte",
    "deployer_impl_provider": "`Deployer(…).flyte()`",
}


def tell_rivals() -> None:
    """Warn on stderr, unless this is a task, whose run was warned of it."""
    if "METAFLOW_RUN_ID" in os.environ:
        return
    for package, lost in _rivals():
        what = f"{', '.join(lost)} {'are' if lost[1:] else 'is'} its" if lost else "mfbuild's wins"
        sys.stderr.write(
            f"warning: `{package}` provides `flyte` to Metaflow, as mfbuild does; {what}: "
            "uninstall one of them\n"
        )


def _rivals() -> Iterator[tuple[str, list[str]]]:
    """Each other package that claims the name, and what it has got by that."""
    plugins: Any = import_module("metaflow.extension_support.plugins")
    claims: dict[str, list[str]] = {}
    for category, shown in _CATEGORIES.items():
        winner = getattr(plugins, f"_all_{category}s_dict").get("flyte", "")
        for name, path in getattr(plugins, f"_all_{category}s"):
            if name == "flyte" and not path.startswith(_OWN):
                claims.setdefault(path.split(".")[1], []).extend([shown] if path == winner else [])
    if claims:
        modules = import_module("metaflow.extension_support").get_modules("plugins")
        packages = {module.tl_package: module.package_name for module in modules}
        for organization, lost in claims.items():
            package = packages.get(organization, "_")
            unnamed = package.startswith("_")  # on PYTHONPATH, where Metaflow counts
            yield (f"metaflow_extensions.{organization}" if unnamed else package), lost
