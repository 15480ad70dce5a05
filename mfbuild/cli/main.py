"""The console script: reads the command line, runs one verb, and turns errors into exit codes."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import sys
from collections.abc import Sequence

from mfbuild import __version__
from mfbuild.cli.streams import give_up_streams, is_refusal, open_streams
from mfbuild.engine.signals import terminable
from mfbuild.errors import MfbuildError, UsageError, did_you_mean, printable
from mfbuild.files import hint_of, words_of

VERBS = {
    "package": "make the bundle of one or more flows: images, code tarball, version",
    "lock": "resolve what every step needs and write BUILD.lock",
    "plan": "show what `package` would do, and why",
    "explain": "say which input of an action changed",
    "run": "run a flow or a bundle on this machine",
    "resume": "go on with a run that failed",
    "push": "images to the registry, versions to Flyte; without one, to the embedded backend",
    "promote": "a version of one domain, to another",
    "activate": "make a version of a flow the live one",
    "deactivate": "make no version of a flow live",
    "versions": "list the registered versions of a flow",
    "diff": "say what differs between two versions of a flow",
    "trigger": "start a registered version of a flow",
    "status": "show executions, or one with its tasks",
    "logs": "print what the tasks of an execution wrote",
    "terminate": "end an execution",
    "export": "write what push would register as an archive for flytectl",
    "verify": "recompute every digest, size and the version of a bundle",
    "gc": "remove what was least recently used from the store",
}

EPILOG = """\
examples:
  mfbuild package flow.py                  # the bundle's path is printed on stdout
  mfbuild package //flows/... --locked     # every flow below flows/, nothing resolved anew
  mfbuild plan flow.py                     # what would run, and why
  mfbuild lock --upgrade pandas
  mfbuild push --domain staging            # registered as flow@version
  mfbuild trigger TrainFlow --domain staging --alpha 0.3 --wait

exit codes: 0 done; 1 the build, push or run failed; 2 usage or configuration; 3 a bug in
mfbuild; 130 interrupted
"""


_OBJECTS = 100_000
"""New ones before Python looks for garbage, in place of its own 700."""


def script() -> int:
    """`main` in a process that does nothing else.

    Most of what a command makes are modules, which stay: there is little garbage to look for among
    them, neither meanwhile nor when the process ends.
    """
    gc.set_threshold(_OBJECTS)
    atexit.register(gc.freeze)
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code, which EPILOG explains."""
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.platform == "win32":
        print("error: Windows is not supported as a host: use WSL, Linux or macOS", file=sys.stderr)
        return 2
    open_streams()
    verb = words[0] if words and words[0] in VERBS else None
    parser = _parser_of(verb) if verb else _parser()
    try:
        with terminable():
            return _printed(words, verb, parser)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if is_refusal(error):
            return _refused(error)
        from mfbuild.cli.bug import write_log

        log = write_log(error, words, parser)
        print(f"error: this is a bug in mfbuild; the log is {log}", file=sys.stderr)
        return 3


def _printed(words: Sequence[str], verb: str | None, parser: argparse.ArgumentParser) -> int:
    """The exit code, when all that was printed has left; OSError if stdout does not take it."""
    try:
        return _run(words, verb, parser)
    except MfbuildError as error:
        print_problems(error)
        return error.exit_code
    finally:
        sys.stdout.flush()


def _refused(error: Exception) -> int:
    """The machine refuses something; no error where our reader went away, as `head` does."""
    give_up_streams()
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        hint = hint_of(error) if error.filename else None
        print_problems(MfbuildError(words_of(error), where=error.filename, hint=hint))
    return 1


def print_problems(error: MfbuildError) -> None:
    """Every problem of `error` on stderr: the sentence, where it is, what to do."""
    for problem in error.problems:
        print(f"error: {printable(problem.message)}", file=sys.stderr)
        if problem.where:
            print(f"  at {printable(problem.where)}", file=sys.stderr)
        if problem.hint:
            print(f"  hint: {printable(problem.hint)}", file=sys.stderr)


def _run(words: Sequence[str], verb: str | None, parser: argparse.ArgumentParser) -> int:
    if verb is None:
        if words and not words[0].startswith("-"):
            hint = did_you_mean(words[0], [*VERBS])
            raise UsageError(f"there is no command `{words[0]}`", hint=hint)
        parser.parse_args(words)
        parser.print_help(sys.stderr)
        return 2
    module = importlib.import_module(f"mfbuild.cli.{verb}")
    module.arguments(parser)
    if hasattr(module, "TAKES_PARAMETERS"):
        arguments, rest = parser.parse_known_args(words[1:])
    else:
        arguments, rest = parser.parse_intermixed_args(words[1:]), []
    arguments.words, arguments.rest = words[1:], rest
    code: int = module.run(arguments)
    return code


def _parser_of(verb: str) -> argparse.ArgumentParser:
    """The parser of a verb, which has no arguments yet: its module adds these."""
    return argparse.ArgumentParser(
        prog=f"mfbuild {verb}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # `--max` may be a Parameter of a flow
    )


def _parser() -> argparse.ArgumentParser:
    """The parser of what names no verb."""
    verbs = "".join(f"  {name:10}  {text}\n" for name, text in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="mfbuild",
        usage="mfbuild [-h] [--version] VERB ...",
        description="Package Metaflow flows for Flyte. `mfbuild VERB --help` says more of one.",
        epilog=f"commands:\n{verbs}\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mfbuild {__version__}")
    return parser
