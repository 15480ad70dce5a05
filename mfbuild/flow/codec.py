"""FlowSpec to JSON and back: explicit and strict, the same shape that the probe writes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mfbuild.flow.decode import decode, mapping, member, of
from mfbuild.flow.spec import FlowSpec, Host


def to_json(spec: FlowSpec) -> dict[str, Any]:
    """`spec` as a JSON value; it holds the absolute paths of this machine's files."""
    return asdict(spec)


def public_json(spec: FlowSpec) -> dict[str, Any]:
    """What a bundle may carry: `to_json` without what is this machine's or this person's.

    `code` is left out, being paths, and `flyte`, being a deployment's; of `host`, Metaflow's
    version remains: the interpreter and the datastore configured here are not the pods', and the
    locked environments say the rest.
    """
    value = to_json(spec)
    del value["code"], value["flyte"]
    value["host"] = {"metaflow_version": spec.host.metaflow_version}
    return value


def from_public_json(value: Any) -> FlowSpec:
    """The FlowSpec that `public_json` described, with nothing for what that leaves out.

    What a later version has added is passed over, and what an earlier one did not have yet has its
    default: bundles outlive the mfbuild that made them. Malformed for any other value.
    """
    version = member(value, "host", lambda host: member(host, "metaflow_version", of(str)))
    host = Host(python="", metaflow_version=version, datastore="", requirements=(), sources=())
    local: dict[str, Any] = {"code": [], "flyte": None, "host": asdict(host)}
    return decode(FlowSpec, {**mapping(value), **local}, exact=False)


def from_json(value: Any) -> FlowSpec:
    """The FlowSpec that `to_json` described; Malformed for any other value."""
    return decode(FlowSpec, value)
