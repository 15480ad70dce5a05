"""The program `mfbuild`, and `python -m mfbuild`."""

import sys


def main() -> int:
    """Run the command line of this process; the exit code, also where ^C comes before all is imported."""
    try:
        from mfbuild.cli.main import script

        return script()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
