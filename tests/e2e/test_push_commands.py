"""The verbs of push on the embedded backend, run as people run them: no Flyte, no registry."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from tests.e2e.conftest import FLOW, Runner, write_flow

AMD64 = ("--platform", "linux/amd64")


@pytest.fixture(scope="module")
def packaged(mfbuild: Runner, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a flow that was packaged, and its version."""
    folder = tmp_path_factory.mktemp("pushed")
    write_flow(folder)
    return folder, mfbuild.version("flow.py", *AMD64, cwd=folder)


@pytest.fixture
def folder(packaged: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it, to be pushed and changed."""
    return shutil.copytree(packaged[0], tmp_path / "flow")


def test_push_without_a_word_takes_what_was_packaged_last(
    mfbuild: Runner, folder: Path, packaged: tuple[Path, str]
) -> None:
    mfbuild.version("flow.py", *AMD64, cwd=folder)
    done = mfbuild("push", cwd=folder)
    assert (done.code, done.out) == (0, f"SmallFlow@{packaged[1]}\n")
    said, told = done.err.splitlines()
    assert said.startswith("SmallFlow as packaged last: ")
    where = "in local/development of the embedded backend (.mfbuild/flyte)"
    assert told.startswith(f"pushed SmallFlow@{packaged[1][:12]} {where}: ")
    assert " 4 registrations in " in told
    again = mfbuild("push", cwd=folder)
    assert (again.code, again.out) == (0, done.out)
    assert again.err.splitlines()[1].startswith("nothing to register: there is SmallFlow@")


def test_a_bundle_that_is_older_than_its_sources(mfbuild: Runner, folder: Path) -> None:
    old = mfbuild.version("flow.py", *AMD64, cwd=folder)
    (folder / "helper.py").write_text('GREETING = "good evening"\n')
    done = mfbuild("push", "-q", cwd=folder)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: //flow.py has changed since it was packaged\n"
        "  hint: `mfbuild push //flow.py` packages it first; or give --stale-ok\n"
    )
    assert mfbuild("push", "-q", "--stale-ok", cwd=folder).out == f"SmallFlow@{old}\n"
    (new,) = mfbuild("push", "--json", "flow.py", *AMD64, cwd=folder).json()["pushed"]
    assert new["version"] != old
    assert mfbuild("push", "-q", cwd=folder).out == f"SmallFlow@{new['version']}\n"


def test_nothing_was_packaged(mfbuild: Runner, tmp_path: Path) -> None:
    done = mfbuild("push", cwd=tmp_path)
    assert (done.code, done.err) == (
        2,
        "error: nothing was packaged here yet\n  hint: name a flow: mfbuild push flow.py\n",
    )


def test_two_versions_from_their_push_to_production(
    mfbuild: Runner, folder: Path, packaged: tuple[Path, str]
) -> None:
    first = packaged[1]
    mfbuild("push", "flow.py", "-d", "staging", "--activate", *AMD64, cwd=folder)
    (folder / "flow.py").write_text(FLOW.replace("1.16.0", "1.17.0").replace("0.3", "0.5"))
    (second,) = mfbuild("push", "--json", "flow.py", "-d", "staging", *AMD64, cwd=folder).json()[
        "pushed"
    ]
    listed = mfbuild("versions", "flow.py", "-d", "staging", "--json", cwd=folder).json()
    states = [(v["version"], v["active"]) for v in listed["versions"]]
    assert states == [(second["version"], False), (first, True)]
    told = mfbuild(
        *("diff", f"SmallFlow@{first[:8]}", f"SmallFlow@{second['version'][:8]}"),
        *("-d", "staging"),
        cwd=folder,
    )
    changed, package, image, code = told.out.splitlines()
    assert changed == 'flow: parameter alpha ["float",false,0.3] -> ["float",false,0.5]'
    assert package == "step start: package six 1.16.0 -> 1.17.0"
    # Metaflow needs six too: the layer that only this step had is now shared by both.
    assert image.startswith("step end: image (same packages) ")
    assert code.startswith("code: file flow.py ")
    promoted = mfbuild(
        *("promote", "SmallFlow", "--from", "staging", "--to", "production", "--activate"),
        cwd=folder,
    )
    assert (promoted.code, promoted.out) == (0, f"SmallFlow@{first}\n")  # the active one
    moved = mfbuild("activate", f"SmallFlow@{second['version']}", "-d", "staging", cwd=folder)
    assert moved.err == "SmallFlow is active in local/staging\n"
    mfbuild("deactivate", "SmallFlow", "-d", "production", cwd=folder)
    kept = mfbuild("versions", "SmallFlow", "-d", "production", cwd=folder).out
    assert kept.startswith(f"   {first}  ")
    live = mfbuild("versions", "SmallFlow", "-d", "staging", cwd=folder).out
    assert live.splitlines()[0].startswith(f"*  {second['version']}  ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("push", "flow.py", "-d", "stagin"),
            "there is no domain `stagin`\n  hint: did you mean `staging`?",
        ),
        (("push", "flow.tar"), "there is no bundle at `flow.tar`"),
        (
            ("versions", "Nope"),
            "nothing is registered as `Nope` in local/development of the embedded backend "
            "(.mfbuild/flyte)\n"
            "  hint: register it first: mfbuild push --domain development",
        ),
        (("trigger", "SmallFlow@xyz"), "`SmallFlow@xyz` is not FLOW[@VERSION][:STEP]"),
        (
            ("promote", "SmallFlow", "--from", "staging", "--to", "staging"),
            "`--from` and `--to` are the same domain",
        ),
        (
            ("activate", "SmallFlow"),
            "`SmallFlow` names no version\n  hint: `mfbuild versions` lists those there are",
        ),
        (
            ("export", "flow.py", "--flytectl", "-o", "x.tgz", "--blobs", "s3://b"),
            "the domain `development` has no registry for its images",
        ),
    ],
)
def test_words_that_mean_nothing(
    mfbuild: Runner, folder: Path, words: tuple[str, ...], said: str
) -> None:
    done = mfbuild(*words, "-q", cwd=folder)
    assert done.code in (1, 2)
    assert done.err.startswith(f"error: {said}"), done.err
    assert done.out == ""


def test_export_is_the_archive_of_flytectl(mfbuild: Runner, folder: Path) -> None:
    (folder / "BUILD.toml").write_text(
        '[domain.production]\nregistry = "registry.example.com/ml"\nservice_account = "flows"\n'
        '[domain.production.metaflow]\ndatastore_sysroot_s3 = "s3://bucket/metaflow"\n'
    )
    words = ("export", "flow.py", "--flytectl", "-d", "production", "-p", "flows", *AMD64)
    options = ("-o", "out.tgz", "--blobs", "s3://bucket/flows/")
    done = mfbuild(*words, *options, "-q", cwd=folder)
    assert (done.code, done.out) == (0, "out.tgz\n"), done.err
    with tarfile.open(folder / "out.tgz") as archive:
        assert archive.getnames() == [
            "0_SmallFlow.end_1.pb",
            "1_SmallFlow.start_1.pb",
            "2_SmallFlow_2.pb",
            "3_SmallFlow_3.pb",
        ]
    (code,) = (folder / "out.tgz.blobs").rglob("code.tar.gz")
    first = (folder / "out.tgz").read_bytes()
    assert f"s3://bucket/flows/{code.parent.name}/code.tar.gz#sha256={code.parent.name}" in str(
        _unpacked(folder / "out.tgz", "3_SmallFlow_3.pb")
    )
    mfbuild(*words, *options, "-q", cwd=folder)
    assert (folder / "out.tgz").read_bytes() == first


def _unpacked(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as opened:
        file = opened.extractfile(name)
        assert file is not None
        return file.read()
