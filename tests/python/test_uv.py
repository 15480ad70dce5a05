"""What is told of uv's errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfbuild.errors import ResolveError
from mfbuild.python.index import IndexSettings
from mfbuild.python.uv import UvFailure, run_uv
from tests.index import settings_for

SOLVING = "No solution found when resolving dependencies"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (f"error: {SOLVING}\n  cause: Because a was not found.\n", "because a was not found"),
        (
            f"  \x1b[31m\u00d7\x1b[0m {SOLVING}:\n"
            "  \u2570\u2500\u25b6 Because a\n      was not found.",
            "because a was not found",
        ),
        ("error: Request failed\n  cause: at https://me:p@x.example/", "at https://***@x.example/"),
        ("", ""),
    ],
)
def test_reasons_are_one_plain_line(output: str, reason: str) -> None:
    told = UvFailure(output).reason
    assert told.endswith(reason) and "\n" not in told and "\x1b" not in told


def test_hints_are_kept_apart() -> None:
    failure = UvFailure(
        f"error: {SOLVING}\n  cause: Because a.\n\nhint: Wheels are required for `a` because of x\n"
        "\nhint: try\n      this\n"
    )
    assert (failure.reason, failure.hint) == ("because a", "try this")
    assert failure.sdist_only == {"a"}


def test_a_workspace_that_is_gone_is_told(tmp_path: Path) -> None:
    settings = settings_for(None, tmp_path)
    gone = IndexSettings(tmp_path / "gone", settings.environ)
    with pytest.raises(ResolveError, match="uv cannot be run"):
        run_uv(["--version"], gone)
