"""A build in a process of its own, to be killed, interrupted, raced or starved by a test.

usage: python -m tests.engine.child STORE MODE [NUMBER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mfbuild.engine.model import Action, Work
from mfbuild.errors import MfbuildError
from tests.children import arguments, kill_at, limit_files, ready, say
from tests.engine.fakes import Workshop, action, join, out

GOALS = (out("//top"), out("//base", "info"))
SIZE = 3 << 20


def actions(shop: Workshop) -> list[Action]:
    """A small graph with two downloads and outputs of some MiB."""
    one, two = shop.source("one", b"1" * SIZE), shop.source("two", b"2")
    return [
        action("//base", {"one": one}, outputs=("info", "out")),
        action("//side", {"two": two}),
        action("//middle", {"a": out("//base"), "b": out("//side")}),
        action("//top", {"in": out("//middle"), "two": two}),
    ]


def logging_join(log: Path, work: Work) -> None:
    with log.open("a") as file:
        file.write(f"{work.params}\n")
    join(work)


def endless(work: Work) -> None:
    (work.scratch / "half").write_bytes(b"half")
    say("running")
    while True:
        work.tick(1)


def main() -> int:
    root, mode, number = arguments()
    shop = Workshop(root)
    if mode == "kill":
        kill_at(root, number)
    if mode == "race":
        shop.tool("join", lambda work: logging_join(root.parent / "log", work))
        ready()
    if mode == "interrupt":
        shop.tool("join", endless)
    if mode == "idle":
        results, _ = shop.build(actions(shop), *GOALS)
        say(json.dumps([m for m in ("concurrent.futures", "shutil") if m in sys.modules]))
        return 0
    if mode == "full":
        limit_files(number)
    try:
        results, _ = shop.build(actions(shop), *GOALS, jobs=2)
    except MfbuildError as error:
        say(json.dumps([str(error), error.problems[0].hint]))
        return error.exit_code
    say(json.dumps({label: str(results[label]) for label in sorted(results)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
