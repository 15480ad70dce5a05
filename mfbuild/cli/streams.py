"""The standard streams where they are closed, full or no longer read."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import TextIO

_OF_THE_MACHINE = {
    *(errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE),
    *(errno.ENAMETOOLONG, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EPERM, errno.EROFS),
}


def open_streams() -> None:
    """Let no file of ours, nor one of a child's, get the number of a stream that is closed.

    What stdout cannot encode is escaped, as on stderr; names of files, in UTF-8, are as they are.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def is_refusal(error: Exception) -> bool:
    """Whether `error` is one of the machine, with its disks and pipes, rather than a bug."""
    found = isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
    return found or isinstance(error, BrokenPipeError)


def give_up_streams() -> None:
    """Let what stdout and stderr do not take be lost, or Python would fail over it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _lose(stream)


def _lose(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
