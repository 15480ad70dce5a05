"""BUILD.toml, MFBUILD_* and flags: precedence, and every mistake named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mfbuild.config import Config, find_root, read_config
from mfbuild.errors import UsageError
from mfbuild.oci.types import Platform

FULL = """
[workspace]
registry = "registry.example.com/ml"
base = "python3.11"
platforms = ["linux/arm64", "linux/amd64"]
pyc = true
[flyte]
project = "recsys"
endpoint = "local"
[domain.production]
activate = true
service_account = "flows"
image_pull_secrets = ["pull"]
branches = ["prod", "prod.*"]
[domain.production.metaflow]
datastore_sysroot_s3 = "s3://bucket/metaflow"
[target."//train.py"]
base = "slim"
resources = { cpu = 2 }
[target."//train.py:fit"]
resources = { gpu = 1 }
"""


def read(root: Path, text: str, env: dict[str, str] | None = None, **flags: Any) -> Config:
    (root / "BUILD.toml").write_text(text)
    return read_config(root, {"HOME": str(root / "home")} | (env or {}), flags)


def test_a_workspace_without_a_file_has_defaults(tmp_path: Path) -> None:
    config = read_config(tmp_path, {"HOME": "/home/x"}, {}, cpus=3)
    assert config.store == Path("/home/x/.cache/mfbuild")
    assert config.jobs == 3
    assert config.base == "python3.11"
    assert [str(p) for p in config.platforms] == ["linux/amd64", "linux/arm64"]
    assert list(config.domains) == ["development", "staging", "production"]


def test_every_table_is_read(tmp_path: Path) -> None:
    config = read(tmp_path, FULL)
    assert config.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert (config.registry, config.pyc) == ("registry.example.com/ml", True)
    assert (config.flyte_project, config.flyte_endpoint) == ("recsys", "local")
    production = config.domains["production"]
    assert production.activate and production.image_pull_secrets == ("pull",)
    assert production.branches == ("prod", "prod.*")
    assert production.metaflow == {"datastore_sysroot_s3": "s3://bucket/metaflow"}
    assert config.target("//train.py", "fit").base == "slim"
    assert config.target("//train.py", "fit").resources == {"cpu": 2, "gpu": 1}
    assert config.target("//other.py", "fit").base is None


def test_resources_of_steps_that_ask_for_none(tmp_path: Path) -> None:
    text = (
        "[workspace]\nresources = { cpu = 2, disk = 0 }\n[domain.a]\nresources = { memory = 1024 }"
    )
    config = read(tmp_path, text)
    assert (config.resources, config.domains["a"].resources) == (
        {"cpu": 2, "disk": 0},
        {"memory": 1024},
    )
    table = "must be a table of cpu, disk, memory"
    assert problems(
        tmp_path, "[workspace]\nresources = { gpu = 1 }\n[domain.a]\nresources = 1"
    ) == [
        (f"`workspace.resources` {table}", None),
        (f"`domain.a.resources` {table}", None),
    ]


def test_flag_over_environment_over_file_over_user_file(tmp_path: Path) -> None:
    user = tmp_path / "home/.config/mfbuild/config.toml"
    user.parent.mkdir(parents=True)
    user.write_text(
        '[workspace]\nbase = "user"\nregistry = "user.example.com"\nstore = "/user"\njobs = 7\n'
    )
    text = '[workspace]\nbase = "file"\nregistry = "file.example.com"\nstore = "/file"\n'
    env = {"MFBUILD_REGISTRY": "env.example.com", "MFBUILD_STORE": "/env"}
    env |= {"MFBUILD_DOMAIN": "env"}
    config = read(tmp_path, text, env, store="/flag", base=None)
    assert config.flyte_domain == "env"
    assert (config.jobs, config.base) == (7, "file")
    assert (config.registry, config.store) == ("env.example.com", Path("/flag"))


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    text = """
    [workspace]
    registy = "x"
    pyc = "yes"
    platforms = ["linux"]
    overlap = "loud"
    [wrkspace]
    [domain.staging]
    image_pull_secrets = "one"
    [target.fit]
    resources = { cpus = 1 }
    """
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text, {"MFBUILD_JOBS": "many"})
    found = [(p.message, p.hint) for p in caught.value.problems]
    assert found == [
        ("unknown key `workspace.registy`", "did you mean `workspace.registry`?"),
        ("`workspace.pyc` must be true or false", None),
        ("`workspace.platforms` `linux` is not a platform like `linux/amd64`", None),
        ('`workspace.overlap` must be "warn" or "error"', None),
        ("unknown key `wrkspace`", "did you mean `workspace`?"),
        ("`domain.staging.image_pull_secrets` must be a list of strings", None),
        (
            "`target.fit.resources` must be a table of cpu, disk, gpu, memory, shared_memory",
            None,
        ),
        ("target `fit` is not a label like `//flow.py` or `//flow.py:step`", None),
        ("`MFBUILD_JOBS` must be a whole number of at least 1", None),
    ]
    assert caught.value.exit_code == 2


def test_insecure_holds_for_the_endpoint_beside_it_alone(tmp_path: Path) -> None:
    text = """
    [flyte]
    endpoint = "dns:///localhost:30080"
    insecure = true
    [domain.a]
    endpoint = "https://flyte.example.com"
    insecure = true
    [domain.b]
    endpoint = "flyte.example.com"
    insecure = false
    """
    config = read(tmp_path, text)
    assert config.flyte_endpoint == "http://localhost:30080"
    assert config.domains["a"].endpoint == "http://flyte.example.com"
    assert config.domains["b"].endpoint == "flyte.example.com"
    env = {"MFBUILD_ENDPOINT": "flyte.example.com"}
    assert read(tmp_path, text, env).flyte_endpoint == "flyte.example.com"


def test_insecure_without_an_endpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, "[flyte]\ninsecure = true\n[domain.a]\ninsecure = 1\n")
    assert [p.message for p in caught.value.problems] == [
        "`flyte.insecure` needs `flyte.endpoint` beside it",
        "`domain.a.insecure` must be true or false",
    ]


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reading `BUILD\.toml`: ") as caught:
        read(tmp_path, "[workspace\n")
    assert caught.value.problems[0].where == str(tmp_path / "BUILD.toml")


def test_the_nearest_file_above_is_the_root(tmp_path: Path) -> None:
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    assert find_root(inner) is None
    (tmp_path / "BUILD.toml").touch()
    assert find_root(inner) == tmp_path


@pytest.mark.parametrize(
    "registry",
    [
        "https://someone:secret-word@registry.example.com/ml",
        "someone:secret-word@registry.example.com/ml",
        "registry.example.com/ml:latest",
        "registry.example.com/ml@sha256:" + "0" * 64,
        "registry.example.com/ML",
        "registry.example.com/",
        "oci:folder",
        "ml",
    ],
)
def test_a_registry_that_is_none_is_refused_and_not_shown(tmp_path: Path, registry: str) -> None:
    """What is in BUILD.toml of a registry is in every bundle: no login may be."""
    text = f'[domain.staging]\nregistry = "{registry}"\n'
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text, {"MFBUILD_REGISTRY": registry})
    form = "must be like `registry.example.com/ml/flows`, without `https://`, a login or a tag"
    assert [p.message for p in caught.value.problems] == [
        f"`domain.staging.registry` {form}",
        f"`MFBUILD_REGISTRY` {form}",
    ]


@pytest.mark.parametrize("registry", ["", "127.0.0.1:5000", "localhost/a", "example.com/a/b_c"])
def test_registries_that_may_be(tmp_path: Path, registry: str) -> None:
    assert read(tmp_path, f'[workspace]\nregistry = "{registry}"\n').registry == registry


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a." * 5000 + "b = 1", "[workspace]\njobs = " + "9" * 5000]
)
def test_toml_that_is_too_much_for_a_parser(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"`BUILD\.toml`") as caught:
        read(tmp_path, text)
    assert caught.value.problems[0].where == str(tmp_path / "BUILD.toml")


def test_a_workspace_whose_path_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the path of the workspace, `.*\\udcff'`, is not UTF-8"):
        read_config(tmp_path / "a\udcff", {"HOME": str(tmp_path)}, {})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[workspace]\nstore = "a\\u0000b"', "workspace.store"),
        ('[flyte]\nendpoint = "\\u0000"', "flyte.endpoint"),
        ('[domain.d]\nimage_pull_secrets = ["a", "\\u0000"]', "domain.d.image_pull_secrets"),
        ('[domain.d.metaflow]\na = "\\u0000"', "domain.d.metaflow"),
    ],
)
def test_no_setting_holds_nul(tmp_path: Path, text: str, key: str) -> None:
    """No path, variable or argument of a program can have it."""
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.message == f"`{key}` holds the character NUL"
    assert problem.where == str(tmp_path / "BUILD.toml")


def test_resources_without_end(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must hold numbers of at least 0"):
        read(tmp_path, '[target."//flow.py"]\nresources = { cpu = inf }\n')


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number which no user has."""

    def no_home(kind: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(no_home))
    with pytest.raises(UsageError, match="this user has no home folder") as caught:
        read_config(tmp_path, {"XDG_CONFIG_HOME": "/c", "XDG_CACHE_HOME": "/c"}, {})
    assert caught.value.problems[0].hint == "set HOME to a folder"


def test_the_environment_is_as_it_was_and_never_shown(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "TOKEN": "hunter2"}
    config = read_config(tmp_path, env, {})
    env["TOKEN"] = "other"
    assert config.environ["TOKEN"] == "hunter2"
    assert "hunter2" not in repr(config)


def problems(tmp_path: Path, text: str) -> list[tuple[str, str | None]]:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 2
    assert {p.where for p in caught.value.problems} == {str(tmp_path / "BUILD.toml")}
    return [(p.message, p.hint) for p in caught.value.problems]


def test_what_is_a_flows_at_a_step(tmp_path: Path) -> None:
    text = '[target."//a/flow.py:start"]\nparallelism = 3\nresources = { gpu = 1 }'
    assert problems(tmp_path, text) == [
        (
            "`target.//a/flow.py:start.parallelism` means nothing: it is a flow's, and no step's",
            'write `parallelism = 3` below `[target."//a/flow.py"]`',
        )
    ]


def test_what_is_of_a_flow_is_of_its_steps(tmp_path: Path) -> None:
    text = '[target."//flow.py"]\nparallelism = 3\nresources = { gpu = 1, disk = 10 }'
    config = read(tmp_path, text)
    assert config.targets["//flow.py"].parallelism == 3
    assert config.target("//flow.py", "start").resources == {"gpu": 1, "disk": 10}


@pytest.mark.parametrize(
    ("label", "bare"),
    [
        ("//flow.py:start.image", "//flow.py:start"),
        ("//a/flow.py.code", "//a/flow.py"),
        ("//flow.py.bundle", "//flow.py"),
        ("//flow.py:", None),
        ("//flow.py:a:b", None),
        ("//flow.py:a-b", None),
        ("//flows/...", None),
        ("///flow.py", "//flow.py"),
        ("//", None),
        ("flow.py:start", "//flow.py:start"),
        ("@python3.11//six", None),
    ],
)
def test_what_has_no_policy_of_its_own(tmp_path: Path, label: str, bare: str | None) -> None:
    told = f"target `{label}` is not a label like `//flow.py` or `//flow.py:step`"
    hint = f'write `[target."{bare}"]`' if bare else None
    assert problems(tmp_path, f"[target.'{label}']\nbase = 'x'") == [(told, hint)]


def test_half_a_gpu(tmp_path: Path) -> None:
    assert problems(tmp_path, '[target."//flow.py"]\nresources = { gpu = 0.5 }') == [
        ("`target.//flow.py.resources` must hold a whole number of `gpu`", None)
    ]


@pytest.mark.parametrize("name", ["METAFLOW_USER", "metaflow_user", "DEFAULT_DATASTORE", "a-b", ""])
def test_settings_that_metaflow_would_not_read(tmp_path: Path, name: str) -> None:
    form = "must name settings like `default_datastore`, for METAFLOW_DEFAULT_DATASTORE"
    assert problems(tmp_path, f'[domain.staging.metaflow]\n"{name}" = "x"') == [
        (f"`domain.staging.metaflow` {form}, not `{name}`", None)
    ]


def test_no_server_that_is_insecure(tmp_path: Path) -> None:
    assert problems(tmp_path, '[flyte]\nendpoint = "local"\ninsecure = true') == [
        ("`flyte.insecure` means nothing: `local` is no server", None)
    ]


def test_keys_of_the_user_file_that_the_workspace_does_not_set(tmp_path: Path) -> None:
    user = tmp_path / "home/.config/mfbuild/config.toml"
    user.parent.mkdir(parents=True)
    user.write_text(
        '[domain.staging]\nendpoint = "one"\nregistry = "example.com/one"\n'
        '[target."//flow.py"]\nbase = "one"\nparallelism = 1\n'
    )
    text = '[domain.staging]\nendpoint = "two"\n[target."//flow.py"]\nbase = "two"'
    config = read(tmp_path, text)
    assert config.domains["staging"].endpoint == "two"
    assert config.domains["staging"].registry == "example.com/one"
    target = config.targets["//flow.py"]
    assert (target.base, target.parallelism) == ("two", 1)
