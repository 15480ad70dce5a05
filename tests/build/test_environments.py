"""What steps need: bases, pins, and the refusals that name the step."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfbuild.build.environments import (
    base_names,
    check_targets,
    datastores,
    other_patches,
    requirement,
    step_needs,
)
from mfbuild.config import Config, Domain, Target
from mfbuild.debian.model import LockedDeb
from mfbuild.errors import FlowError, Problem, UsageError
from tests.specs import AMD64, ARM64, base, flow, step

CONFIG = Config(root=Path("/w"), store=Path("/s"), jobs=1, environ={})
PINNED = "registry.example.com/ml@sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.2.3", "pandas==2.2.3"),
        ("==2.2.3", "pandas==2.2.3"),
        (" >= 2, < 3 ", "pandas>=2,<3"),
        ("~=2.2", "pandas~=2.2"),
        ("", "pandas"),
        ("2.*", "pandas==2.*"),
        ("@ git+https://example.com/x", None),
        ("git+https://example.com/x", None),
    ],
)
def test_a_package_becomes_a_requirement(version: str, expected: str | None) -> None:
    assert requirement("pandas", version) == expected


@pytest.mark.parametrize("name", ["../x", "a b", "-r", "a==1", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert requirement(name, "1") is None


def test_extras_are_kept() -> None:
    assert requirement("uvicorn[standard]", "0.30") == "uvicorn[standard]==0.30"


def test_the_base_is_the_target_s_then_the_step_s_then_the_workspace_s() -> None:
    spec = flow(step("a", image=PINNED), step("b", image=PINNED), step("c"))
    targets = {"//train.py:b": Target("//train.py:b", base="slim")}
    config = Config(root=Path("/w"), store=Path("/s"), jobs=1, environ={}, targets=targets)
    assert base_names(spec, "//train.py", config) == {"a": PINNED, "b": "slim", "c": "python3.11"}


def test_an_image_that_may_change_is_refused_for_every_step_at_once() -> None:
    spec = flow(step("a", image="python:3.11", line=4), step("b", image="python", line=9))
    with pytest.raises(FlowError) as caught:
        base_names(spec, "//train.py", CONFIG)
    assert [(p.message, p.where) for p in caught.value.problems] == [
        ("step `a` asks for the image `python:3.11`, which is not pinned by digest", "train.py:4"),
        ("step `b` asks for the image `python`, which is not pinned by digest", "train.py:9"),
    ]


def needs(*steps: object) -> dict[str, tuple[str, ...]]:
    spec = flow(*steps)  # type: ignore[arg-type]
    names = {s.name: "python3.11" for s in spec.steps}
    found = step_needs(spec, names, {"python3.11": base()})
    return {name: need.request.requirements for name, need in found.items()}


def test_requests_are_sorted_and_carry_what_every_environment_needs() -> None:
    spec = flow(step("a", packages={"pandas": "2.2.3", "numpy": ""}), requirements=("b==1", "a"))
    need = step_needs(spec, {"a": "python3.11"}, {"python3.11": base()})["a"]
    assert need.request.requirements == ("numpy", "pandas==2.2.3")
    assert need.request.base == ("a", "b==1")
    assert (need.request.python, need.request.glibc) == ("3.11", "2.36")


def test_a_step_s_own_version_counts_unless_it_is_metaflow_s() -> None:
    carried = ("Azure_Identity==1", "boto3[crt]==1.4", "metaflow==2.19", "requests==2.34.2")
    asked = {"requests[socks]": "2.31.0", "azure-identity": "", "metaflow": "2.18"}
    spec = flow(step("a", packages=asked), step("b"), requirements=carried)
    found = step_needs(spec, {"a": "p", "b": "p"}, {"p": base()})
    assert found["a"].request.base == ("boto3[crt]==1.4", "metaflow==2.19")
    assert found["b"].request.base == carried


def test_steps_that_ask_for_the_same_share_a_request() -> None:
    one, two = step("a", packages={"x": "1"}), step("b", packages={"x": "==1"})
    spec = flow(one, two)
    found = step_needs(spec, {"a": "p", "b": "p"}, {"p": base()})
    assert found["a"].request.digest() == found["b"].request.digest()


def test_another_patch_of_python_is_told() -> None:
    package, version, path = "python3.11-minimal", "3.11.2-6+deb12u9", "pool/main/p/p_1_all.deb"
    deb = LockedDeb(package, version, "all", "debian", path, 7, "b" * 64)
    debs = dict.fromkeys((AMD64, ARM64), (deb,))
    spec = flow(*(step(n, python=p) for n, p in (("a", "3.11"), ("b", "3.11.2"), ("c", "3.11.4"))))
    found = step_needs(spec, dict.fromkeys("abc", "p"), {"p": base(debs=debs)})
    assert found["a"].request.python == "3.11.2"
    assert [p.message for p in other_patches(spec, found)] == [
        "step `c` asks for Python 3.11.4, and runs with 3.11.2 of its base `python3.11`"
    ]


def test_a_python_that_the_base_lacks_and_a_bad_package_are_told_together() -> None:
    with pytest.raises(FlowError) as caught:
        needs(step("a", python="3.9.10"), step("b", packages={"x": "git+https://example.com/x"}))
    assert [p.message for p in caught.value.problems] == [
        "step `a` asks for Python 3.9.10, and its base `python3.11` has 3.11",
        "step `b` asks for the package `x` as `git+https://example.com/x`: "
        "not supported, only versions from an index can be locked",
    ]
    assert needs(step("a", python="3.11.7")) == {"a": ()}


def test_domains_name_the_datastores_whose_clients_are_locked() -> None:
    domains = {
        "a": Domain("a", metaflow={"datastore_sysroot_s3": "s3://b"}),
        "b": Domain("b", metaflow={"default_datastore": "azure", "datastore_sysroot_gs": "x"}),
        "c": Domain("c"),
    }
    config = Config(root=Path("/w"), store=Path("/s"), jobs=1, environ={}, domains=domains)
    assert datastores(config) == ("azure", "s3")
    assert datastores(CONFIG) == ()


def test_a_target_for_a_step_that_there_is_not() -> None:
    labels = ("//train.py", "//train.py:fit", "//train.py:fti", "//other.py:x")
    targets = {label: Target(label, base="slim") for label in labels}
    config = Config(root=Path("/w"), store=Path("/s"), jobs=1, environ={}, targets=targets)
    with pytest.raises(UsageError) as caught:
        check_targets(flow(step("start"), step("fit")), "//train.py", config)
    assert caught.value.problems == (
        Problem(
            "there is no step for the target `//train.py:fti`",
            where="/w/BUILD.toml",
            hint="did you mean `//train.py:fit`?",
        ),
    )
