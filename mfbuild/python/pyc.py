"""The tool `python.pyc`: bytecode of wheels as a layer of its own, for faster starts."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from zipfile import ZipFile

from mfbuild.engine.model import Work
from mfbuild.errors import ActionError, FetchError
from mfbuild.oci.tar import layer_outputs
from mfbuild.python.archive import Member
from mfbuild.python.layer import Laid, merged
from mfbuild.python.wheel import DAMAGE, Scheme, content

# Reads frames of <size of name, size of source>, name, source; answers each with <size>, pyc, or
# with size 0 for a source that does not compile. Flags 0b01 make an unchecked hash-based pyc
# (PEP 552). Marshal's version 2 has no references: where newer ones put them depends on which
# strings are alive elsewhere in the process, so the same source would not give the same bytes.
_COMPILER = """
import importlib.util, marshal, struct, sys
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
while frame := read(8):
    name, source = (read(size) for size in struct.unpack("<II", frame))
    try:
        code = compile(source, name.decode(), "exec", dont_inherit=True)
        pyc = importlib.util.MAGIC_NUMBER + b"\\1\\0\\0\\0" + importlib.util.source_hash(source)
        pyc += marshal.dumps(code, 2)
    except Exception:
        pyc = b""
    write(struct.pack("<I", len(pyc)) + pyc)
    sys.stdout.buffer.flush()
"""
_MAX_SOURCE = 16 << 20
_PROBE = """
import sys
print("%s-%d.%d" % (sys.implementation.name, *sys.version_info[:2]), sys.executable)
"""


def run(work: Work, environ: Mapping[str, str]) -> None:
    """Compile the modules of wheels to `__pycache__` as the outputs of `layer_outputs`.

    Parameters as those of the tool `wheel.layer`, and `compiler`, the interpreter's full version,
    which is there for the key alone. The interpreter must be of the minor version
    that the image has: ActionError if there is none. Files that are no Python of that version
    (templates, say) and files whose bytecode a wheel brings itself are left out. `environ` has the
    PATH where the interpreter is looked for, and what it may need to start.
    """
    scheme = Scheme(prefix=work.params["prefix"], python=work.params["python"])
    python = _needed_python(scheme.python, environ)
    files = {name: work.inputs[name].path() for name in work.params["wheels"]}
    modules = sorted(_modules(merged(files, scheme), scheme), key=lambda module: module.target)
    with (
        layer_outputs(work, work.params["comment"]) as writer,
        _compiler(python, work, environ) as compiled,
    ):
        for owner, group in groupby(modules, key=lambda module: module.owner):
            for module, source in _sources(files[owner], owner, group):
                if pyc := compiled("/" + module.path, source):
                    writer.file(module.target, pyc, owner=owner)
                work.tick(0)


def compiler_version(minor: str, environ: Mapping[str, str]) -> str:
    """The full version of the CPython that compiles for `major.minor`, `3.11.7`; ActionError.

    It belongs into the key of the action: patch releases differ in the bytecode that they write.
    """
    code = "import platform; print(platform.python_version())"
    command = [str(_needed_python(minor, environ)), "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _needed_python(minor: str, environ: Mapping[str, str]) -> Path:
    python = find_python(minor, environ)
    if python is None:
        raise ActionError(
            f"bytecode for the image needs `python{minor}` on PATH, which is not there",
            hint="install that version of Python, or package without bytecode",
        )
    return python


def find_python(minor: str, environ: Mapping[str, str]) -> Path | None:
    """A CPython of exactly this `major.minor`: `python<minor>` on PATH, or the running one."""
    folders = environ.get("PATH", "").split(os.pathsep)
    named = [Path(folder, f"python{minor}") for folder in folders if folder]
    found = (_probed(candidate, minor) for candidate in (*named, Path(sys.executable)))
    return next((python for python in found if python), None)


def _probed(candidate: Path, minor: str) -> Path | None:
    """The interpreter behind `candidate`, which may be a shim for another version or for none."""
    try:
        ran = subprocess.run([candidate, "-I", "-c", _PROBE], capture_output=True, text=True)
    except OSError:
        return None
    version, _, executable = ran.stdout.strip().partition(" ")
    return Path(executable) if ran.returncode == 0 and version == f"cpython-{minor}" else None


@dataclass(frozen=True, slots=True)
class _Module:
    """A source file of a wheel, and the path of its bytecode."""

    target: str
    owner: str
    path: str
    member: Member


def _modules(laid: Iterable[Laid], scheme: Scheme) -> Iterator[_Module]:
    """The modules of site-packages whose bytecode no wheel brings."""
    entries = {each.entry.path: (each.owner, each.entry.content) for each in laid}
    tag = f"cpython-{scheme.python.replace('.', '')}"
    for path, (owner, member) in entries.items():
        folder, _, name = path.rpartition("/")
        target = f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc"
        is_module = path.startswith(f"{scheme.site}/") and name.endswith(".py")
        if is_module and isinstance(member, Member) and target not in entries:
            yield _Module(target, owner, path, member)


def _sources(
    wheel: Path, owner: str, modules: Iterable[_Module]
) -> Iterator[tuple[_Module, bytes]]:
    """The content of modules of one wheel; the few that are no sane size are left out."""
    with ZipFile(wheel) as archive:
        for module in modules:
            if module.member.size > _MAX_SOURCE:
                continue
            try:
                source = content(archive, module.member)
            except DAMAGE as error:
                message = f"`{module.member.name}` cannot be read: {error}"
                raise FetchError(message, where=owner) from error
            yield module, source


@contextmanager
def _compiler(
    python: Path, work: Work, environ: Mapping[str, str]
) -> Iterator[Callable[[str, bytes], bytes]]:
    """A function from co_filename and source to a pyc (empty if it does not compile)."""
    clean = {k: v for k, v in environ.items() if not k.startswith("PYTHON")}
    child = subprocess.Popen(
        [python, "-s", "-S", "-W", "ignore", "-c", _COMPILER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=work.scratch,  # empty: the child's first place to import from
        env=clean | {"PYTHONHASHSEED": "0"},
    )
    try:
        yield partial(_compiled, child)
    finally:
        child.kill()
        child.communicate()


def _compiled(child: subprocess.Popen[bytes], name: str, source: bytes) -> bytes:
    assert child.stdin and child.stdout, "BUG: the compiler has no pipes"
    encoded = name.encode()
    with suppress(BrokenPipeError):
        child.stdin.write(struct.pack("<II", len(encoded), len(source)) + encoded + source)
        child.stdin.flush()
    head = child.stdout.read(4)
    size = int.from_bytes(head, "little")
    pyc = child.stdout.read(size)
    if len(head) != 4 or len(pyc) != size:
        raise ActionError(f"the interpreter died while it compiled `{name}`")
    return pyc
