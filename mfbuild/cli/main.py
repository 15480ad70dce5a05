"""The console script: reads the command line, runs one verb, and turns errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence

from mfbuild import __version__
from mfbuild.cli.streams import give_up_streams, is_refusal, open_streams
from mfbuild.errors import MfbuildError
from mfbuild.signals import terminable

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code (design.md §9)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.platform == "win32":
        print("error: Windows is not supported as a host: use WSL, Linux or macOS", file=sys.stderr)
        return 2
    open_streams()
    parser, verbs = _parsers()
    try:
        with terminable():
            return _printed(words, parser, verbs)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if is_refusal(error):
            return _refused(error)
        from mfbuild.cli.bug import write_log

        log = write_log(error, words, verbs.get(words[0], parser) if words else parser)
        print(f"error: this is a bug in mfbuild; the log is {log}", file=sys.stderr)
        return 3


def _printed(
    words: Sequence[str],
    parser: argparse.ArgumentParser,
    verbs: Mapping[str, argparse.ArgumentParser],
) -> int:
    """The exit code, when all that was printed has left; OSError if stdout does not take it."""
    try:
        return _run(words, parser, verbs)
    except MfbuildError as error:
        print_problems(error)
        return error.exit_code
    finally:
        sys.stdout.flush()


def _refused(error: Exception) -> int:
    """The machine refuses something; no error where our reader went away, as `head` does."""
    give_up_streams()
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        said = str(error.strerror)
        print_problems(MfbuildError(said[:1].lower() + said[1:], where=error.filename))
    return 1


def print_problems(error: MfbuildError) -> None:
    """Every problem of `error` on stderr: the sentence, where it is, what to do."""
    for problem in error.problems:
        print(f"error: {problem.message}", file=sys.stderr)
        if problem.where:
            print(f"  at {problem.where}", file=sys.stderr)
        if problem.hint:
            print(f"  hint: {problem.hint}", file=sys.stderr)


def _run(
    words: Sequence[str],
    parser: argparse.ArgumentParser,
    verbs: Mapping[str, argparse.ArgumentParser],
) -> int:
    verb = words[0] if words else None
    if verb not in VERBS:
        parser.parse_args(words)
        parser.print_help(sys.stderr)
        return 2
    module = importlib.import_module(f"mfbuild.cli.{verb}")
    of_verb = verbs[verb]
    module.arguments(of_verb)
    if hasattr(module, "TAKES_PARAMETERS"):
        arguments, rest = of_verb.parse_known_args(words[1:])
    else:
        arguments, rest = of_verb.parse_intermixed_args(words[1:]), []
    arguments.words, arguments.rest = words[1:], rest
    code: int = module.run(arguments)
    return code


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and those of the verbs, which have no arguments yet: their modules add these."""
    parser = argparse.ArgumentParser(
        prog="mfbuild",
        description="Package Metaflow flows for Flyte.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mfbuild {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    return parser, {
        name: verbs.add_parser(
            name,
            help=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # `--max` may be a Parameter of a flow
        )
        for name, text in VERBS.items()
    }
