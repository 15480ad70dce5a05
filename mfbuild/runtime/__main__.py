"""`python -m mfbuild_runtime STEP …`."""

import os
import sys

from .main import main

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # tearing all modules down takes long, and there is nothing to save
