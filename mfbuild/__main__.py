"""The program `mfbuild`, and `python -m mfbuild`."""

import sys


def main() -> int:
    """Run this process's command line; the exit code, also of a ^C before all is imported."""
    try:
        from mfbuild.cli.main import script

        return script()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
