"""A push whose requests go wrong, each kind in each way: it ends right, or the next one does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mfbuild.engine.model import Digest
from mfbuild.errors import PushError
from mfbuild.http import limits
from mfbuild.oci.auth import Credentials
from tests.proxy import Fault, Proxy, Seen, proxied
from tests.pushes import Pushable, pushable, repository, state
from tests.registry import PASSWORD, USER, Answer, docker_registry

pytestmark = pytest.mark.tools

KINDS = (
    "HEAD tag",
    "HEAD manifest",
    "HEAD blob",
    "POST mount",
    "POST upload",
    "PUT upload",
    "PUT manifest",
    "PUT tag",
)
LIE = str(Digest.of(b"something else"))
BROKE = "could not be reached, or broke the connection, 5 times"
LOGIN = {"WWW-Authenticate": "Basic realm=tests"}
FAULTS = {
    "cut before": (Fault(cut="before"), BROKE),
    "cut in the middle": (Fault(cut="middle"), BROKE),
    "cut after": (Fault(cut="after"), BROKE),
    "stall": (Fault(stall=True), "did not answer in time, 5 times"),
    "429": (Fault(answer=Answer(429, headers={"Retry-After": "3"})), "answered `429`, 5 times"),
    "500": (Fault(answer=Answer(500)), "answered `500`, 5 times"),
    "503": (Fault(answer=Answer(503)), "answered `503`, 5 times"),
    "401": (Fault(answer=Answer(401, headers=LOGIN)), "does not let you push to `team/PATH`"),
    "lie": (Fault(headers={"Docker-Content-Digest": LIE}), f"is `{LIE}`"),
}


@dataclass(frozen=True)
class Place:
    """A registry behind a proxy, with an image, and what an undisturbed push of it leaves."""

    folder: Path
    proxy: Proxy
    image: Pushable
    expected: set[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    image = pushable(folder / "image", 100_000)
    with docker_registry(folder / "registry") as host, proxied(host) as proxy:
        assert image.push(repository(host, "team/source"))
        expected = state(folder / "registry", "team/source")
        yield Place(folder / "registry", proxy, image, expected)


@pytest.mark.parametrize("often", [1, 1000], ids=["once", "always"])
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_breaks(
    place: Place, kind: str, name: str, often: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIMITS", limits.Limits(silence=0.2, storing=0.2))
    fault, message = FAULTS[name]
    path = re.sub(r"\W", "-", f"team/{kind}-{name}-{often}".lower()).replace("team-", "team/", 1)
    target = repository(place.proxy.host, path, Credentials(USER, PASSWORD))
    # Without sources, blobs are sent; with one, they are mounted.
    mount = ("team/source",) if kind == "POST mount" else ()

    def rule(seen: Seen) -> Fault | None:
        applies = seen.kind == kind and path in seen.path and seen.number < often
        return fault if applies else None

    place.proxy.seen.clear()
    place.proxy.rule = rule
    try:
        assert place.image.push(target, mount=mount)
    except PushError as error:
        assert len(error.problems) == 1
        assert message.replace("team/PATH", path) in str(error)
        assert often > 1 or name == "lie"
    place.proxy.rule = lambda seen: None
    assert any(seen.kind == kind for seen in place.proxy.seen)
    place.image.push(replace(target, path=path), mount=mount)
    place.image.check(target)
    assert state(place.folder, path) == place.expected
