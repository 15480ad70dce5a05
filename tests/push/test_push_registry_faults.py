"""Each request of a push to the registry, failing in each way: nothing is registered that names
an image which is not there, and the next push completes it."""

from __future__ import annotations

from itertools import product

import pytest

from mfbuild.engine.model import Digest
from mfbuild.errors import PushError
from mfbuild.http import limits
from tests.proxy import Fault
from tests.push.faulty import BROKEN, PUSHING, Faulty, problem_of
from tests.registry import Answer

pytestmark = pytest.mark.tools

LIE = str(Digest.of(b"something else"))
LOGIN = {"WWW-Authenticate": "Basic realm=tests"}
REFUSES = "does not let you push to `staging/trainflow`"
FAULTS = {
    **BROKEN,
    "stall": (Fault(stall=True), "did not answer in time, 5 times"),
    "429": (Fault(answer=Answer(429, headers={"Retry-After": "3"})), "answered `429`, 5 times"),
    "401": (Fault(answer=Answer(401, headers=LOGIN)), REFUSES),
    "403": (Fault(answer=Answer(403)), REFUSES),
    "lie": (Fault(headers={"Docker-Content-Digest": LIE}), f"`{LIE}`"),
}
PASSING = [name for name in FAULTS if name not in ("403", "lie")]
STAYING = [name for name in FAULTS if name not in ("429", "stall")]
"""The others differ by their message alone (tests/oci)."""

HARMLESS = (("HEAD tag", "lie"), ("POST upload", "lie"), ("PUT upload", "cut after"))
"""To a push of something new: two answers tell no digest, and for a blob whose answer is lost the
registry is asked."""


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("kind", PUSHING)
def test_a_request_that_fails_once(
    flyte: Faulty, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "stall":
        monkeypatch.setattr(limits, "LIMITS", limits.Limits(silence=0.5, storing=0.5))
    flyte.proxy.disturb(kind, FAULTS[name][0], 1)
    flyte.do()
    assert flyte.proxy.count(kind) > 0
    flyte.check_ends_right()


@pytest.mark.parametrize(("kind", "name"), [*product(PUSHING, STAYING)])
def test_a_request_that_always_fails(flyte: Faulty, kind: str, name: str) -> None:
    fault, told = FAULTS[name]
    flyte.proxy.disturb(kind, fault)
    if (kind, name) in HARMLESS:
        flyte.do()
        flyte.calm()
        flyte.check_ends_right()
        return
    assert told in problem_of(PushError, flyte.do, flyte.tokens.read_text())
    flyte.check_kept()
    now = flyte.standing()
    assert (now.entities, now.uploads) == (flyte.began.entities, flyte.began.uploads)
    flyte.check_again()


def test_a_version_that_the_registry_says_is_another(flyte: Faulty) -> None:
    """Nobody's images are taken for ours, and nothing is made active."""
    flyte.do()
    flyte.push(flyte.old)
    before = flyte.standing()
    flyte.proxy.disturb("HEAD tag", FAULTS["lie"][0])
    told = problem_of(PushError, flyte.do, flyte.tokens.read_text())
    repository = f"{flyte.proxy.host}/staging/trainflow"
    version = flyte.new.manifest.version
    assert told == f"`{repository}:{version}` is there, and is something else: `{LIE}`"
    assert flyte.standing() == before
