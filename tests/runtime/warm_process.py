"""A warm process: runs tasks as forks, one after the other, then prints the artifacts of a run."""

from __future__ import annotations

import json
import os
import sys

from mfbuild_runtime.warm import Run, has_threads, serve  # type: ignore[import-not-found]
from print_artifacts import artifacts  # type: ignore[import-not-found]

request = json.load(sys.stdin)
environ = dict(os.environ)


def then(run: Run) -> None:
    assert not has_threads()
    for argv in request["tasks"]:
        child = os.fork()
        if child == 0:
            run(argv, environ)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == 0, argv
    sys.stdout.write(json.dumps(artifacts(request["run"])) + "\n")
    sys.stdout.flush()
    os._exit(0)


sys.exit(serve(request["tasks"][0], then))
