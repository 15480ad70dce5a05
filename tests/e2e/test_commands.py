"""Every verb, run as people run it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.e2e.conftest import FLOW, Runner, write_flow

AMD64 = ("--platform", "linux/amd64")


@pytest.fixture(scope="module")
def small(mfbuild: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a packaged flow."""
    folder = tmp_path_factory.mktemp("small")
    write_flow(folder)
    mfbuild.version("flow.py", *AMD64, cwd=folder)
    return folder


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """A copy of the small flow and its lock, to be changed."""
    return shutil.copytree(small, tmp_path / "flow", ignore=shutil.ignore_patterns(".mfbuild"))


def test_package_prints_the_bundle_and_nothing_else(mfbuild: Runner, small: Path) -> None:
    done = mfbuild("package", "flow.py", *AMD64, cwd=small)
    (bundle,) = (small / ".mfbuild/dist").glob("SmallFlow-*")
    assert (done.code, done.out) == (0, f"{bundle}\n")
    assert done.err.startswith("packaged SmallFlow: 2 steps, 2 images for 1 platform, ")
    assert "(16 cached)" in done.err


def test_a_no_op_imports_nothing_that_is_not_needed(mfbuild: Runner, small: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mfbuild", "package", "flow.py", *AMD64]
    env = {**os.environ, "MFBUILD_STORE": str(mfbuild.store)}
    done = subprocess.run(command, cwd=small, env=env, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mfbuild.build.pipeline" in imported
    needless = {"metaflow", "requests", "docker", "uv", "deflate", "packaging", "pathspec"}
    assert needless & imported == set()


def test_an_import_that_an_image_lacks_is_told_with_the_steps(
    mfbuild: Runner, tmp_path: Path
) -> None:
    flow = write_flow(tmp_path)
    text = flow.read_text().replace("import helper", "import pytest\nimport pluggy\nimport helper")
    flow.write_text(text.replace('"six": "1.16.0"', '"pluggy": "1.5.0"'))
    done = mfbuild("package", flow.name, cwd=tmp_path)
    assert done.code == 0
    lines = [line for line in done.err.splitlines() if "imports" in line]
    told = "has not: name its package in @pypi_base, or import it in the steps that use it"
    assert lines == [
        f"warning: flow.py:4 imports `pytest`, which the image of steps `start`, `end` {told}",
        f"warning: flow.py:5 imports `pluggy`, which the image of step `end` {told}",
    ]


def test_one_changed_line_makes_the_code_alone(mfbuild: Runner, folder: Path) -> None:
    mfbuild.version("flow.py", *AMD64, cwd=folder)
    (folder / "flow.py").write_text(FLOW.replace("GREETING)", "GREETING * 2)"))
    plan = mfbuild("plan", "--json", "flow.py", *AMD64, cwd=folder).json()
    run = [a["label"] for a in plan["actions"] if a["status"] != "cached"]
    assert run == ["//flow.py.code"]
    assert plan["downloads"] == []
    (action,) = [a for a in plan["actions"] if a["label"] == "//flow.py.code"]
    (reason,) = action["reasons"]
    assert reason.startswith("input `flow.py` changed: sha256:")


def test_explain_gives_old_and_new_digest_before_and_after(mfbuild: Runner, folder: Path) -> None:
    mfbuild.version("flow.py", *AMD64, cwd=folder)
    (folder / "helper.py").write_text('GREETING = "good morning"\n')
    before = mfbuild("explain", "//flow.py.code", *AMD64, cwd=folder)
    assert "`//flow.py.code` must run:" in before.out
    mfbuild.version("flow.py", *AMD64, cwd=folder)
    after = mfbuild("explain", "//flow.py.code", *AMD64, cwd=folder)
    assert "`//flow.py.code` is up to date; the last time:" in after.out
    change = before.out.splitlines()[1]
    assert change.startswith("  input `helper.py` changed: sha256:")
    assert change in after.out
    assert len(change.split("sha256:")[1].split(" ")[0]) == 64


def test_explain_takes_a_step_for_its_image(mfbuild: Runner, small: Path) -> None:
    done = mfbuild("explain", "//flow.py:end", *AMD64, cwd=small)
    assert (done.code, "//flow.py:end.image" in done.out) == (0, True)
    wrong = mfbuild("explain", "//flow.py:edn.image", *AMD64, cwd=small)
    assert wrong.code == 2
    assert wrong.err.splitlines()[-1] == "  hint: did you mean `//flow.py:end.image`?"


@pytest.mark.parametrize("output", ["docker://image", "bundle.zip", ".", "oci://example.com/NO"])
def test_an_output_that_cannot_be_is_refused_before_anything_is_made(
    mfbuild: Runner, tmp_path: Path, output: str
) -> None:
    write_flow(tmp_path)
    done = mfbuild("package", "flow.py", "-o", output, *AMD64, cwd=tmp_path)
    assert (done.code, done.out) == (2, ""), done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow.py", "helper.py"]


def test_every_result_as_json_is_one_object(mfbuild: Runner, folder: Path) -> None:
    version = mfbuild.version("flow.py", *AMD64, cwd=folder)
    verified = mfbuild("verify", f".mfbuild/dist/SmallFlow-{version}", "--json", cwd=folder)
    assert verified.json() == {"bundles": [{"flow": "SmallFlow", "version": version}]}
    told = mfbuild("explain", "//flow.py:end", "--json", *AMD64, cwd=folder).json()
    assert [action["label"] for action in told["actions"]] == ["//flow.py:end.image"]
    words = ("lock", "--export", "pylock", "--json", *AMD64)
    listed = mfbuild(*words, "-o", "out", cwd=folder).json()["pylocks"]
    assert sorted(listed) == ["out/pylock.end.toml", "out/pylock.start.toml"]
    assert mfbuild(*words, cwd=folder).code == 2


def test_environments_of_flows_with_the_same_steps_are_all_exported(
    mfbuild: Runner, tmp_path: Path
) -> None:
    other = FLOW.replace("SmallFlow", "OtherFlow").replace("1.16.0", "1.17.0")
    write_flow(tmp_path, {"other.py": other})
    done = mfbuild("lock", "--export", "pylock", "-o", "out", "-q", *AMD64, cwd=tmp_path)
    assert done.code == 0, done.err
    names = sorted(done.out.split())
    assert names == [f"out/pylock.{name}.toml" for name in ("end", "flow-start", "other-start")]
    assert 'version = "1.16.0"' in (tmp_path / names[1]).read_text()


def test_a_target_for_a_flow_that_there_is_not(mfbuild: Runner, folder: Path) -> None:
    (folder / "BUILD.toml").write_text('[target."//folw.py"]\nbase = "python3.11"\n')
    done = mfbuild("plan", "flow.py", "-q", *AMD64, cwd=folder)
    assert done.code == 0
    assert done.err == "warning: there is no flow for the target `//folw.py` of BUILD.toml\n"


def test_another_package_reruns_what_depends_on_it(mfbuild: Runner, folder: Path) -> None:
    mfbuild.version("flow.py", *AMD64, cwd=folder)
    (folder / "flow.py").write_text(FLOW.replace("1.16.0", "1.15.0"))
    plan = mfbuild("plan", "--json", "flow.py", *AMD64, cwd=folder).json()
    run = {a["label"] for a in plan["actions"] if a["status"] != "cached"}
    assert "//flow.py:start.image" in run
    assert "//flow.py:end.image" not in run


def test_a_bundle_as_one_file_is_the_same_bundle(
    mfbuild: Runner, small: Path, tmp_path: Path
) -> None:
    tar = tmp_path / "small.tar"
    version = mfbuild.version("flow.py", "-o", tar, *AMD64, cwd=small)
    assert mfbuild("verify", tar, cwd=small).out == f"SmallFlow@{version}\n"
    with tarfile.open(tar) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        names = [tag for image in json.load(manifest) for tag in image["RepoTags"]]
    assert sorted(n.partition(":")[0] for n in names) == ["smallflow", "smallflow"]


def test_verify_names_what_was_changed(mfbuild: Runner, folder: Path) -> None:
    version = mfbuild.version("flow.py", *AMD64, cwd=folder)
    bundle = shutil.copytree(
        folder / f".mfbuild/dist/SmallFlow-{version}", folder / "copied", copy_function=shutil.copy
    )
    blob = max((bundle / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    done = mfbuild("verify", bundle, cwd=folder)
    assert (done.code, done.out) == (1, "")
    assert blob.name in done.err


def test_gc_empties_the_store_and_the_next_build_fills_it(folder: Path, tmp_path: Path) -> None:
    own = Runner(tmp_path / "store")
    version = own.version("flow.py", *AMD64, cwd=folder)
    freed = own("gc", "--json", "--max-size", "0", cwd=folder).json()
    assert freed["kept"] == 0
    assert freed["freed"] > 20_000_000
    shutil.rmtree(folder / ".mfbuild")
    assert own.version("flow.py", *AMD64, cwd=folder) == version


@pytest.mark.parametrize("words", [("--max-size", "10X"), ("--max-age", "3y"), ()])
def test_gc_wants_to_know_what_to_keep(
    mfbuild: Runner, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert mfbuild("gc", *words, cwd=tmp_path).code == 2


def test_pins_stay_until_they_are_moved(mfbuild: Runner, tmp_path: Path) -> None:
    flow = write_flow(tmp_path)
    flow.write_text(FLOW.replace('"six": "1.16.0"', '"iniconfig": "<2"'))
    assert mfbuild("lock", "-q", *AMD64, cwd=tmp_path).code == 0
    old = locked_version(tmp_path, "iniconfig")
    flow.write_text(FLOW.replace('"six": "1.16.0"', '"iniconfig": ">=1"'))
    assert mfbuild("lock", "-q", *AMD64, cwd=tmp_path).code == 0
    assert locked_version(tmp_path, "iniconfig") == old
    done = mfbuild("lock", "--upgrade", "iniconfig", *AMD64, cwd=tmp_path)
    assert f"iniconfig {old} -> {locked_version(tmp_path, 'iniconfig')}\n" in done.err


def locked_version(folder: Path, name: str) -> str:
    """The one version of a package in the lock."""
    wheels = json.loads((folder / "BUILD.lock").read_text())["wheels"]
    (version,) = {w["version"] for w in wheels if w["name"] == name}
    return str(version)


def test_the_lock_is_host_neutral_and_the_same_again(mfbuild: Runner, folder: Path) -> None:
    before = (folder / "BUILD.lock").read_text()
    assert "http" not in before
    assert mfbuild("lock", "-q", *AMD64, cwd=folder).code == 0
    assert (folder / "BUILD.lock").read_text() == before


def test_a_lock_goes_out_as_pylock_and_comes_back(mfbuild: Runner, folder: Path) -> None:
    done = mfbuild("lock", "--export", "pylock", "-o", "out", *AMD64, cwd=folder)
    assert sorted(done.out.split()) == ["out/pylock.end.toml", "out/pylock.start.toml"]
    before = (folder / "BUILD.lock").read_text()
    (folder / "flow.py").write_text(
        FLOW.replace(
            "    @step\n    def end",
            '    @pypi(packages={"six": "1.16.0"})\n    @step\n    def end',
        )
    )
    (folder / "BUILD.lock").unlink()
    words = ("lock", "-q", "flow.py", "--from", "out/pylock.start.toml", *AMD64)
    assert mfbuild(*words, cwd=folder).code == 0
    start = [e for e in json.loads(before)["environments"] if e["requirements"]]
    assert json.loads((folder / "BUILD.lock").read_text())["environments"] == start


@pytest.fixture(scope="module")
def tutorials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorials of the installed Metaflow, copied."""
    found = importlib.util.find_spec("metaflow")
    assert found is not None and found.submodule_search_locations
    source = Path(found.submodule_search_locations[0]) / "tutorials"
    return shutil.copytree(source, tmp_path_factory.mktemp("tutorials") / "tutorials")


def test_every_tutorial_is_packaged_but_the_one_with_conda(
    mfbuild: Runner, tutorials: Path
) -> None:
    flows = sorted(f for f in tutorials.glob("*/*.py") if "04-playlist-plus" not in f.parts)
    assert len(flows) >= 5
    (tutorials / "BUILD.toml").touch()
    bundles = mfbuild.package(*flows, *AMD64, cwd=tutorials)
    assert len(bundles) == len(flows)
    assert mfbuild("verify", *(b["path"] for b in bundles), cwd=tutorials).code == 0


def test_the_tutorial_with_conda_is_refused(mfbuild: Runner, tutorials: Path) -> None:
    done = mfbuild("package", "04-playlist-plus/playlist.py", *AMD64, cwd=tutorials)
    assert done.code == 1
    assert "@conda" in done.err
    assert "not supported" in done.err
    assert "`bonus_movie`" in done.err


def test_several_flows_and_patterns_share_one_build(mfbuild: Runner, tmp_path: Path) -> None:
    (tmp_path / "BUILD.toml").touch()
    write_flow(tmp_path / "flows/one")
    write_flow(tmp_path / "flows/two", {"flow.py": FLOW.replace("SmallFlow", "OtherFlow")})
    bundles = mfbuild.package("//flows/...", *AMD64, cwd=tmp_path)
    assert [b["label"] for b in bundles] == ["//flows/one/flow.py", "//flows/two/flow.py"]
    assert {Path(b["path"]).parent for b in bundles} == {tmp_path / ".mfbuild/dist"}


def test_help_has_examples_and_every_verb(mfbuild: Runner, tmp_path: Path) -> None:
    from mfbuild.cli.main import VERBS

    whole = mfbuild("--help", cwd=tmp_path).out
    assert "exit codes: 0 done; 1 the build, push or run failed" in whole
    for verb in VERBS:
        assert f"  {verb}" in whole
        done = mfbuild(verb, "--help", cwd=tmp_path)
        assert (done.code, done.out.startswith(f"usage: mfbuild {verb} ")) == (0, True)
