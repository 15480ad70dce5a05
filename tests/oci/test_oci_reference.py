"""Image references: what is one, what is none, and that writing one reads back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.engine.model import Digest
from mfbuild.errors import UsageError
from mfbuild.oci.reference import Reference, repository_name

PIN = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("text", "repository", "tag", "pinned"),
    [
        ("registry.example.com/python", "registry.example.com/python", None, False),
        (f"registry.example.com/a/b-c@{PIN}", "registry.example.com/a/b-c", None, True),
        (f"localhost:5000/a:3.11-slim@{PIN}", "localhost:5000/a", "3.11-slim", True),
        ("127.0.0.1/a__b/c.d:_x", "127.0.0.1/a__b/c.d", "_x", False),
        ("[::1]:5000/a", "[::1]:5000/a", None, False),
        (f"oci:./a dir:x@{PIN}", "oci:./a dir:x", None, True),
        ("oci:/a@b", "oci:/a@b", None, False),
    ],
)
def test_references(text: str, repository: str, tag: str | None, pinned: bool) -> None:
    digest = Digest.parse(PIN) if pinned else None
    assert Reference.parse(text) == Reference(repository, tag, digest)
    assert str(Reference.parse(text)) == text


def test_the_parts_of_a_reference() -> None:
    remote, local = Reference.parse("host:5000/a/b:t"), Reference.parse("oci:some/dir")
    assert (remote.host, remote.path, remote.directory) == ("host:5000", "a/b", None)
    assert local.directory == Path("some/dir")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`` does not start with a registry's host name"),
        ("python:3.11", "`python:3.11` does not start with a registry's host name"),
        ("library/python", "`library/python` does not start with a registry's host name"),
        ("https://host.example/a", "`https://host.example/a` does not start with a registry's"),
        ("user:pass@host.example/a", "`…@host.example/a` has a login"),
        (f"user:pass@host.example/a@{PIN}", f"`…@host.example/a@{PIN}` has a login"),
        (f"https://user@host.example/a@{PIN}", f"`https://…@host.example/a@{PIN}` has a login"),
        ("oci://u:p@host.example/a", "`oci://…@host.example/a` has a login"),
        ("host.example/A", "`host.example/A` has no valid repository after its host"),
        ("host.example/a//b", "`host.example/a//b` has no valid repository after its host"),
        ("host.example/../b", "`host.example/../b` has no valid repository after its host"),
        ("host.example/" + "a" * 256, "has no valid repository after its host"),
        ("host.example/a:-x", "`host.example/a:-x` has no valid tag"),
        ("host.example/a:", "`host.example/a:` has no valid tag"),
        (f"host.example/a@{PIN[:-1]}", f"`{PIN[:-1]}` is not a sha256 digest"),
        ("host.example/a@sha512:00", "`sha512:00` is not a sha256 digest"),
        ("oci:", "`oci:` names no directory"),
        ("oci://h.example/a", "`oci://h.example/a` is neither an image's name nor a layout"),
        ("oci:x@sha256:12", "`sha256:12` is not a sha256 digest"),
    ],
)
def test_what_is_no_reference(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Reference.parse(text)
    assert message in str(caught.value)


def test_what_may_be_a_file_as_well_is_told_apart() -> None:
    for name in ("host.example/a:1", f"localhost:5000/a/b@{PIN}", f"host.example/a:1@{PIN}"):
        assert Reference.remote(f"oci://{name}") == Reference.parse(name)


def test_a_base_is_named_by_digest() -> None:
    assert Reference.pinned(f"oci:base@{PIN}").digest == Digest.parse(PIN)
    for text in ("host.example/a:3.11", "oci:base", "python"):
        with pytest.raises(UsageError) as caught:
            Reference.pinned(text)
        assert caught.value.problems[0].hint is not None


@given(st.text(max_size=60) | st.from_regex(r"[a-z.:\[\]]{1,9}/[a-z_./-]{1,9}(:[\w.]+)?(@.*)?"))
def test_whatever_is_read_is_written_the_same(text: str) -> None:
    try:
        found = Reference.parse(text)
    except ValueError:
        return
    assert str(found) == text
    assert Reference.parse(str(found)) == found
    assert found.directory is not None or ".." not in found.path.split("/")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TrainFlow", "trainflow"),
        ("My_Flow", "my_flow"),
        ("My__Flow2", "my__flow2"),
        ("My_Flow_", "my_flow-1u"),
        ("_Private", "1u-private"),
        ("__Two__", "2u-two-2u"),
        ("a___b", "a-3u-b"),
        ("___", "3u"),
        ("é", "233x"),
        ("Fl_ßow", "fl-1u--223x-ow"),
        ("流れ", "27969x--12428x"),
    ],
)
def test_names_of_repositories(name: str, expected: str) -> None:
    assert repository_name(name) == expected
    assert Reference.parse(f"localhost/{expected}").path == expected


def spelled_back(text: str) -> str:
    """The Python name, in lower case, that a repository is called after."""
    literal = not re.match(r"[0-9]", text)  # which no Python name begins with
    found, rest = "", text
    while rest:
        part, _hyphen, rest = rest.partition("-")
        if literal or not part:
            found += part
        elif part[-1] == "u":
            found += "_" * int(part[:-1])
        else:
            found += chr(int(part[:-1]))
        literal = not literal
    return found


NAMES = st.from_regex(
    r"[A-Za-z_\u00df-\u00f6\u4e00-\u4e0f][A-Za-z0-9_\u00df-\u00f6]*", fullmatch=True
)


@given(NAMES | st.from_regex(r"[a_]([a0_é]|__|3u|233x)*", fullmatch=True))
def test_every_name_has_a_repository_of_its_own(name: str) -> None:
    found = repository_name(name)
    if len(found) < 200:
        assert Reference.parse(f"localhost/{found}").path == found
    assert spelled_back(found) == name.lower()
