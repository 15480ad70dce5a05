"""Quantities of Kubernetes: `500m`, `4Gi`, `1e3`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


@dataclass(frozen=True)
class Quantity:
    """A quantity as it was written, and its thousandths."""

    written: str
    milli: Decimal

    def __str__(self) -> str:
        return self.written


def quantity(written: str) -> Quantity:
    """Parse a quantity; ValueError, in Kubernetes' words, where it is none."""
    found = _FORM.fullmatch(written)
    if not found:
        raise ValueError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, suffix, exponent = found.groups()
    if suffix in _BINARY:
        factor = Decimal(1024) ** _BINARY[suffix]
    else:
        factor = Decimal(10) ** (int(exponent) if exponent else _DECIMAL[suffix or ""])
    return Quantity(written, Decimal(number) * factor * 1000)
