"""`python flow.py flyte show`: the workflow that Flyte gets."""

from __future__ import annotations

import json
from typing import Any

from metaflow._vendor import click

from .remote import remote_of


@click.command(help="Show the workflow that `create` would deploy; nothing is built.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["text", "json", "svg"]),
    default="text",
    show_default=True,
    help="An outline of its nodes, the same as JSON with Flyte's own messages, or a drawing.",
)
@click.pass_obj
def show(obj: Any, form: str = "text") -> None:
    """On stdout."""
    from mfbuild.flyte.outline import lines, outline
    from mfbuild.flyte.templates import Compiled
    from mfbuild.local.run_source import without_images

    with remote_of(obj) as remote:
        templates = without_images(remote.session, remote.load()).templates
    compiled = Compiled.decode(templates)
    boxes = outline(compiled)
    if form == "text":
        text = "\n".join([compiled.flow, *lines(boxes, "    ")])
    elif form == "svg":
        from mfbuild.flyte.svg import draw

        text = draw(compiled.flow, boxes)
    else:
        nodes = [box.json() for box in boxes]
        text = json.dumps({"flow": compiled.flow, "nodes": nodes, "flyte": _messages(compiled)})
    click.echo(text)


def _messages(compiled: Any) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return {
        "workflow": MessageToDict(compiled.workflow),
        "sub_workflows": {n: MessageToDict(part) for n, part in compiled.parts.items()},
        "tasks": {n: MessageToDict(task) for n, task in compiled.tasks.items()},
        "launch_plan": MessageToDict(compiled.launch_plan),
    }
