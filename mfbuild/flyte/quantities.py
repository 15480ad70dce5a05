"""Resources in the notation of Kubernetes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfbuild.flow.spec import Resources, StepSpec

GPU = "nvidia.com/gpu"
DEFAULTS: Mapping[str, float] = {"cpu": 1, "memory": 4096}
"""What @kubernetes asks for by itself (`defaults` in metaflow's kubernetes_decorator.py), but for
its disk: Flyte would make it a limit, which it is not with Metaflow, and no pod could be placed
where nodes do not tell of theirs."""

_POWERS = {"n": -3, "u": -2, "m": -1, "": 0} | {s: n for n, s in enumerate("KMGTPE", 1)} | {"k": 1}
_QUANTITY = re.compile(r"\+?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?\Z")


def is_quantity(value: Any) -> bool:
    """Whether Kubernetes reads `value` as an amount of a resource (apimachinery's Quantity)."""
    return bool(_QUANTITY.match(str(value)))


def number(quantity: str) -> int | float:
    """What an amount of Kubernetes is in bytes, cores or devices; ValueError for none."""
    found = _QUANTITY.match(quantity)
    if not found:
        raise ValueError(f"`{quantity}` is no quantity")
    figure, _, suffix = found.groups(default="")
    if suffix[:1] in ("e", "E") and suffix not in ("E", "Ei"):
        return _plain(Decimal(figure + suffix))
    base = 1024 if suffix.endswith("i") else 1000
    return _plain(Decimal(figure) * Decimal(base) ** _POWERS[suffix[:1]])


def _plain(amount: Decimal) -> int | float:
    return int(amount) if amount == int(amount) else float(amount)


def cpu(cores: float) -> str:
    """Cores as Kubernetes counts them: in thousandths where they are not whole."""
    thousandths = math.ceil(round(cores * 1000, 6))
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def mebibytes(amount: int) -> str:
    """MiB with their unit."""
    return f"{amount}Mi"


def overridden(asked: Resources, override: Mapping[str, float]) -> Resources:
    """What a step asks for, with what BUILD.toml says instead."""
    whole = {name: v if name == "cpu" else math.ceil(v) for name, v in override.items()}
    return replace(asked, **whole)  # type: ignore[arg-type]


def requests(asked: Resources) -> dict[str, str]:
    """What a pod asks of its node, by the names of Kubernetes; GPUs left aside."""
    wanted = {
        "cpu": cpu(asked.cpu) if asked.cpu else None,
        "memory": mebibytes(asked.memory) if asked.memory else None,
        "ephemeral-storage": mebibytes(asked.disk) if asked.disk else None,
    }
    return {name: amount for name, amount in wanted.items() if amount}


def devices(step: StepSpec, asked: Resources) -> dict[str, str]:
    """GPUs and other extended resources, which Kubernetes does not share: limit = request."""
    vendor = str(step.kubernetes.get("gpu_vendor") or "nvidia").lower()
    gpu = {f"{vendor}.com/gpu": str(asked.gpu)} if asked.gpu else {}
    extended = step.kubernetes.get("extended_resources") or {}
    return gpu | {name: str(amount) for name, amount in extended.items()}


def is_guaranteed(step: StepSpec) -> bool:
    """Whether all that the step asks for is its limit too (@kubernetes's `qos`)."""
    return str(step.kubernetes.get("qos") or "").lower() == "guaranteed"
