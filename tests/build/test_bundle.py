"""What a bundle says of the domains of its workspace."""

from __future__ import annotations

from pathlib import Path

from mfbuild.build.bundle import domain_record
from mfbuild.config import read_config


def test_resources_of_steps_that_ask_for_none(tmp_path: Path) -> None:
    (tmp_path / "BUILD.toml").write_text(
        "[workspace]\nresources = { memory = 2048, disk = 100 }\n"
        "[domain.small]\nresources = { memory = 512 }\n[domain.other]\n"
    )
    # Whatever the environment says: a version must not depend on who packages.
    env = {"HOME": str(tmp_path), "METAFLOW_KUBERNETES_MEMORY": "1"}
    config = read_config(tmp_path, env, {})
    found = {name: domain_record(d, config).resources for name, d in config.domains.items()}
    assert found == {
        "small": {"cpu": 1, "disk": 100, "memory": 512},
        "other": {"cpu": 1, "disk": 100, "memory": 2048},
    }
    (tmp_path / "BUILD.toml").write_text("")
    config = read_config(tmp_path, env, {})
    assert domain_record(config.domains["staging"], config).resources == {
        "cpu": 1,
        "memory": 4096,
    }
