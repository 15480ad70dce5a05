"""A push as it is told: to people in a sentence, to scripts line by line or as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfbuild.flyte.resolve import Site
from mfbuild.push.dry_run import DryRun
from mfbuild.push.push import Pushed, push
from mfbuild.push.target import PushTarget
from mfbuild.report import PlainReporter, counted

if TYPE_CHECKING:
    from mfbuild.push.bundles import Source


@dataclass(frozen=True, slots=True)
class Result:
    """What a push has done in so many seconds; `calls` are those that a dry run left out."""

    target: PushTarget
    pushed: Pushed
    calls: tuple[str, ...] | None
    seconds: float

    def lines(self) -> Iterator[str]:
        """`flow@version`, then each image of a registry by digest; of a dry run, its calls."""
        if self.calls is not None:
            yield from self.calls
            return
        yield f"{self.pushed.launch_plan.name}@{self.pushed.launch_plan.version}"
        yield from self.pushed.references

    def json(self) -> dict[str, object]:
        """The same for machines."""
        id = self.pushed.launch_plan
        return {
            "name": id.name,
            "version": id.version,
            "project": id.project,
            "domain": id.domain,
            "backend": self.target.backend.name,
            "images": dict(self.pushed.images),
            "sent": [f"{i.name}@{i.version}" for i in self.pushed.sent],
            "active": self.pushed.active,
            "notes": list(self.pushed.notes),
            "calls": None if self.calls is None else list(self.calls),
        }


def push_and_tell(
    bundle: Source,
    site: Site,
    target: PushTarget,
    reporter: PlainReporter,
    *,
    activate: bool,
    dry_run: bool = False,
) -> Result:
    """Push, or with `dry_run` find out what that would call, and say so in a sentence."""
    began = time.monotonic()
    dry = DryRun(target) if dry_run else None
    pushed = push(bundle, site, dry.whole() if dry else target, activate=activate)
    calls = tuple(dry.calls) if dry else None
    result = Result(target, pushed, calls, time.monotonic() - began)
    for note in pushed.notes:
        reporter.note(f"note: {note}")
    reporter.note(_sentence(result))
    return result


def _sentence(result: Result) -> str:
    pushed, id = result.pushed, result.pushed.launch_plan
    where = f"{id.name}@{id.version[:12]} in {result.target}"
    if result.calls is not None:
        return f"{counted(len(result.calls), 'call')} would bring {where}"
    if pushed.sent:
        active = ", active" if pushed.active else ""
        images = "images, " if pushed.sent_images else ""
        sent = f"{images}{counted(len(pushed.sent), 'registration')} in {result.seconds:.1f} s"
        return f"pushed {where}{active}: {sent}"
    return f"nothing to register: there is {where} ({result.seconds:.1f} s)"
