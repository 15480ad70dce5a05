"""Blobs taken up where they broke, after the letter of the distribution-spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError, PushError
from mfbuild.oci.layout import Layout
from mfbuild.oci.upload import parse_range
from tests.proxy import Fault, Proxy, Seen, proxied
from tests.pushes import Pushable, pushable, repository
from tests.registry import Answer, Request, Script, scripted
from tests.strict import StrictRegistry


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Pushable:
    return pushable(tmp_path_factory.mktemp("image"))


@dataclass
class Broken:
    """A strict registry behind a proxy, and what was asked about uploads of the layer."""

    strict: StrictRegistry
    proxy: Proxy
    image: Pushable

    def asked(self) -> list[tuple[str, int]]:
        small = 10_000  # the config's
        return [
            (seen.kind, seen.size)
            for seen in self.proxy.seen
            if seen.kind.endswith("upload") and (seen.size == 0 or seen.size > small)
        ]


@contextmanager
def broken(
    image: Pushable, rule: Callable[[Seen], Fault | None], *, forgetful: bool = False
) -> Iterator[Broken]:
    strict = StrictRegistry(forgetful)
    with scripted(strict) as server, proxied(server.host, rule) as proxy:
        yield Broken(strict, proxy, image)


def large(seen: Seen) -> bool:
    return seen.size > 10_000


def first(kind: str, fault: Fault) -> Callable[[Seen], Fault | None]:
    """Break the first of the large requests of a kind."""
    left = [fault]

    def rule(seen: Seen) -> Fault | None:
        return left.pop() if seen.kind == kind and large(seen) and left else None

    return rule


def test_a_blob_is_sent_in_one_request(image: Pushable) -> None:
    with broken(image, lambda seen: None) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))
    assert there.asked().count(("PUT upload", image.layer.size)) == 1
    assert there.proxy.count("PATCH upload") == there.proxy.count("GET upload") == 0


def test_only_the_rest_is_sent_after_a_break(image: Pushable) -> None:
    with broken(image, first("PUT upload", Fault(cut="middle"))) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))
    half = image.layer.size // 2
    patches = [seen for seen in there.proxy.seen if seen.kind == "PATCH upload"]
    assert [seen.size for seen in patches] == [image.layer.size - half]
    assert there.proxy.count("GET upload") == 1


def test_a_rest_that_breaks_is_taken_up_as_well(image: Pushable) -> None:
    cuts = {"PUT upload": [Fault(cut="middle")], "PATCH upload": [Fault(cut="middle")] * 2}

    def rule(seen: Seen) -> Fault | None:
        left = cuts.get(seen.kind, [])
        return left.pop() if left and large(seen) else None

    with broken(image, rule) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))
    sizes = [seen.size for seen in there.proxy.seen if seen.kind == "PATCH upload"]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == image.layer.size - image.layer.size // 2


def test_what_arrived_whole_is_only_closed(image: Pushable) -> None:
    """The answer to the rest is lost, so that nothing but the commit is left to ask for."""
    cuts = {"PUT upload": [Fault(cut="middle")], "PATCH upload": [Fault(cut="after")]}

    def rule(seen: Seen) -> Fault | None:
        left = cuts.get(seen.kind, [])
        return left.pop() if left and large(seen) else None

    with broken(image, rule) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))
    assert there.proxy.count("PATCH upload") == 1


def test_a_lost_answer_sends_nothing_again(image: Pushable) -> None:
    with broken(image, first("PUT upload", Fault(cut="after"))) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))
    assert there.asked().count(("PUT upload", image.layer.size)) == 1
    assert there.proxy.count("PATCH upload") == 0


@pytest.mark.parametrize("status", [400, 404, 405, 410])
def test_an_upload_that_is_lost_begins_anew(image: Pushable, status: int) -> None:
    break_ = first("PUT upload", Fault(cut="middle"))

    def rule(seen: Seen) -> Fault | None:
        unknown = Fault(answer=Answer(status))
        return unknown if seen.kind == "GET upload" else break_(seen)

    with broken(image, rule) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))
    assert there.asked().count(("PUT upload", image.layer.size)) == 2
    assert there.proxy.count("PATCH upload") == 0


def test_a_registry_that_forgets_interrupted_uploads(image: Pushable) -> None:
    with broken(image, first("PUT upload", Fault(cut="middle")), forgetful=True) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))


@pytest.mark.parametrize("told", ["0-5", "0-2999999999", "bytes 0-5", "", "5-9"])
def test_a_range_that_is_not_true_begins_anew(image: Pushable, told: str) -> None:
    """What is sent from there is refused: by 416, or by its digest. It never is committed."""
    break_ = first("PUT upload", Fault(cut="middle"))

    def rule(seen: Seen) -> Fault | None:
        lie = Fault(headers={"Range": told})
        return lie if seen.kind == "GET upload" and seen.number == 0 else break_(seen)

    with broken(image, rule) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))
    assert there.asked().count(("PUT upload", image.layer.size)) == 2


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "changed": lambda data: data[:-1] + b"?",
    "truncated": lambda data: data[:-1],
    "grown": lambda data: data + b"?",
    "emptied": lambda data: b"",
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_layer_that_is_another_one_never_arrives(tmp_path: Path, how: str) -> None:
    image = pushable(tmp_path)
    path = tmp_path / "layout/blobs/sha256" / image.layer.digest.hex
    changed = CHANGES[how](path.read_bytes())
    path.unlink()
    path.write_bytes(changed)
    image = replace(image, layout=Layout.open(tmp_path / "layout"))
    with broken(image, lambda seen: None) as there, pytest.raises(BundleError) as caught:
        image.push(repository(there.proxy.host))
    assert str(caught.value) == f"blob `{image.layer.digest}` has changed"
    assert caught.value.problems[0].where == str(tmp_path / "layout")
    assert not {str(image.layer.digest), str(Digest.of(changed))} & there.strict.blobs.keys()
    assert there.strict.manifests == {}


def test_an_upload_without_an_address(image: Pushable) -> None:
    def nowhere(request: Request) -> Answer:
        return Answer(404) if request.method == "HEAD" else Answer(202)

    assert failure(image, nowhere) == "`HOST` does not say where to upload to"


def test_a_repository_that_has_to_be_made(image: Pushable) -> None:
    with scripted(lambda request: Answer(404)) as server, pytest.raises(PushError) as caught:
        image.push(repository(server.host))
    [problem] = caught.value.problems
    assert problem.message == f"`{server.host}` has no repository `team/repo`"
    assert problem.hint == "create it: this registry does not do so by itself"


@pytest.mark.parametrize("location", ["http://[", "http://a:b/", "\x80", "ftp://x/", "//"])
def test_an_address_that_is_none(image: Pushable, location: str) -> None:
    def nowhere(request: Request) -> Answer:
        lost = Answer(202, headers={"Location": location})
        return Answer(404) if request.method == "HEAD" else lost

    assert failure(image, nowhere).startswith("`HOST` ")


@pytest.mark.parametrize("status", [200, 202])
def test_an_answer_that_means_nothing(image: Pushable, status: int) -> None:
    """As from a proxy that answers whatever it is asked."""

    def answers(request: Request) -> Answer:
        opened = Answer(202, headers={"Location": "/somewhere"})
        return {"HEAD": Answer(404), "POST": opened}.get(request.method, Answer(status))

    assert failure(image, answers) == f"`HOST` stored nothing: it answered `{status}`"


def failure(image: Pushable, script: Script) -> str:
    with scripted(script) as server, pytest.raises(PushError) as caught:
        image.push(repository(server.host))
    return str(caught.value).replace(server.host, "HOST")


def test_the_words_of_a_registry_that_refuses(image: Pushable) -> None:
    denied = b'{"errors": [{"code": "DENIED", "message": "over quota\\u001b[0m"}]}'

    def refuses(request: Request) -> Answer:
        return Answer(404) if request.method == "HEAD" else Answer(403, denied)

    expected = "`HOST` does not let you push to `team/repo`: DENIED: over quota[0m"
    assert failure(image, refuses) == expected


INVALID = Answer(400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}')


@pytest.mark.parametrize("kind", ["PUT upload", "PUT manifest"])
def test_a_registry_that_reads_what_it_is_writing(image: Pushable, kind: str) -> None:
    """As docker-registry does, while another client pushes the same."""

    def rule(seen: Seen) -> Fault | None:
        return Fault(answer=INVALID) if seen.kind == kind and seen.number < 2 else None

    with broken(image, rule) as there:
        assert image.push(repository(there.proxy.host))
        image.check(repository(there.proxy.host))


@pytest.mark.parametrize("kind", ["PUT upload", "PUT manifest"])
def test_a_registry_that_spoils_what_it_gets(image: Pushable, kind: str) -> None:
    with (
        broken(image, lambda seen: Fault(answer=INVALID) if seen.kind == kind else None) as there,
        pytest.raises(PushError) as caught,
    ):
        image.push(repository(there.proxy.host))
    told = "the registry answered `400`: DIGEST_INVALID: no, 5 times"
    assert str(caught.value).startswith(f"`{there.proxy.host}/v2/team/repo/")
    assert str(caught.value).endswith(told)


def test_a_manifest_that_a_registry_does_not_take(image: Pushable) -> None:
    invalid = Answer(400, b'{"errors": [{"code": "MANIFEST_INVALID", "message": "no"}]}')
    refused = Fault(answer=invalid)
    with (
        broken(image, lambda seen: refused if seen.kind == "PUT manifest" else None) as there,
        pytest.raises(PushError, match=r"answered `400` for `.*`: MANIFEST_INVALID: no$"),
    ):
        image.push(repository(there.proxy.host))
    assert there.proxy.count("PUT manifest") == 1


@given(st.integers(0, 10**17))
def test_ranges_are_read(last: int) -> None:
    assert parse_range(f"0-{last}") == parse_range(f"bytes=0-{last}") == (last + 1 if last else 0)


@given(st.text(alphabet="bytes=0123456789- ,٣", max_size=12))
@example("0-" + "9" * 5000)
@example("0-٣")
def test_ranges_of_any_text(text: str) -> None:
    found = parse_range(text)
    assert found is None or (text.isascii() and found >= 0)
