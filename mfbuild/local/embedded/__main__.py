"""Leaves whoever started it, and performs a run: `__main__.py FOLDER LOCK STORE`, by its path.

Its own folder is not searched for modules then, nor is the working one: `mfbuild` is found where
it lies, whatever else is called so.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores itself."""


def main() -> None:
    folder, lock, store = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    if os.fork():
        os._exit(0)  # the one who waits for this process has no child any more
    os.set_inheritable(lock, False)
    # It goes on without its starter, so nothing of how that was started (nohup, say) is its own.
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN and number not in _PYTHONS:
            signal.signal(number, signal.SIG_DFL)
    sys.path[0] = str(Path(__file__).parents[3])
    from mfbuild.local.embedded import process

    process.main(folder, lock, store, dict(os.environ))


if __name__ == "__main__":
    main()
