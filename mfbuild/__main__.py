"""`python -m mfbuild` is the console script `mfbuild`."""

import sys

from mfbuild.cli.main import script

if __name__ == "__main__":
    sys.exit(script())
