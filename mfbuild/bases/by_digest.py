"""Base images named by reference alone, `repository@sha256:…`, without a folder of images/."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mfbuild.bases.lockfile import foreign_json, foreign_of
from mfbuild.bases.model import Base
from mfbuild.engine.kept import Damaged, read_kept, write_kept
from mfbuild.engine.model import Digest, canonical
from mfbuild.errors import UsageError
from mfbuild.oci.foreign_python import ForeignPython, describe_foreign
from mfbuild.oci.types import ForeignBase, Platform, Resolve

GLIBC = "2.28"
"""What wheels may ask of an image that does not say more: that of every glibc distribution kept."""

USER = "65532:65532"


def referenced_base(
    reference: str,
    platforms: Sequence[Platform],
    cache_dir: Path,
    resolve: Resolve,
    warn: Callable[[str], None],
) -> Base:
    """The OCI image `reference` as a base; its Python is what its PYTHON_VERSION and PATH say.

    What a digest names never changes, so the answer is kept below `cache_dir`; `warn` is told where
    that is damaged. UsageError if the image does not say which Python it has; FetchError if it
    cannot be read.
    """
    found = _resolved(reference, platforms, cache_dir, resolve, warn)
    python, interpreter = _python(reference, found)
    return Base(
        name=reference,
        python=python,
        interpreter=interpreter,
        glibc=GLIBC,
        user=USER,
        env={},
        debs={},
        foreign=found,
    )


def _python(reference: str, found: Mapping[Platform, ForeignBase]) -> tuple[str, str]:
    said = {describe_foreign(base) for base in found.values()}
    one = said.pop() if len(said) == 1 else ForeignPython(None, None, None)
    if one.python is None or one.interpreter is None:
        raise UsageError(
            f"the base image `{reference}` does not say which Python it holds",
            hint="write images/<name>/image.toml with `from`, `python`, `interpreter` and `glibc`",
        )
    return one.python, one.interpreter


def _resolved(
    reference: str,
    platforms: Sequence[Platform],
    cache_dir: Path,
    resolve: Resolve,
    warn: Callable[[str], None],
) -> Mapping[Platform, ForeignBase]:
    key = Digest.of(canonical([reference, *map(str, platforms)]).encode())
    path = cache_dir / "bases" / f"{key.hex}.json"
    try:
        kept = foreign_of(json.loads(read_kept(path)))
        return {p: kept[p] for p in platforms}
    except Damaged:
        warn(f"`{path}` is damaged: the image is looked up again")
    except OSError:
        pass
    found = resolve(reference, platforms)
    with suppress(OSError):  # a cache that cannot be written only costs time
        write_kept(path, canonical(foreign_json(found)).encode())
    return found
