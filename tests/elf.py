"""What the dynamic section of an ELF file asks for (System V ABI, chapters 4 and 5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29


@dataclass(frozen=True)
class Dynamic:
    """Needed libraries, the folders to search before the default ones, the loader's path."""

    needed: tuple[str, ...]
    search: tuple[str, ...]
    interpreter: str | None


def read_dynamic(data: bytes) -> Dynamic | None:
    """The dynamic section of a little-endian 64-bit ELF file; None if `data` has none."""
    if data[:6] != b"\x7fELF\x02\x01":
        return None
    offset, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, offset + size * n) for n in range(count)]
    dynamic = [s for s in segments if s[0] == _PT_DYNAMIC]
    if not dynamic:
        return None
    at, length = dynamic[0][2], dynamic[0][5]
    tags = list(struct.iter_unpack("<QQ", data[at : at + length - length % 16]))
    (strings,) = [value for tag, value in tags if tag == _DT_STRTAB]
    loads = [s for s in segments if s[0] == _PT_LOAD and s[3] <= strings < s[3] + s[5]]
    base = strings - loads[0][3] + loads[0][2]

    def text(start: int) -> str:
        return data[start : data.index(b"\0", start)].decode()

    interpreter = [text(s[2]) for s in segments if s[0] == _PT_INTERP]
    paths = [text(base + v) for tag, v in tags if tag in (_DT_RPATH, _DT_RUNPATH)]
    return Dynamic(
        needed=tuple(text(base + v) for tag, v in tags if tag == _DT_NEEDED),
        search=tuple(p for path in paths for p in path.split(":")),
        interpreter=interpreter[0] if interpreter else None,
    )
