"""`flow.py flyte show`: the workflow that Flyte gets, as an outline, as JSON and as a drawing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.outline import Box, lines, outline
from mfbuild.flyte.svg import draw
from tests.flyte.conftest import loaded as loaded
from tests.flyte.flows import FLOWS
from tests.metaflow_side.flows import Metaflow, hello, succeed

OUTLINES = {
    "nested_foreach": """\
start       starts, for each split,
    outer-to-outer-join  sub-workflow
        outer
        inner       once for each split  after outer
        inner_join  after inner
outer_join  after start
end         after outer-join
""",
    "recursive_switch": """\
start
loop   starts one of  after start
    loop  again
end    after loop
""",
    "branch_in_switch": """\
start
start chose  one of  after start
    split-to-end  sub-workflow
        split
        a      after split
        b      after split
        join   after a, b
    skip
end          after start-chose
""",
}


@pytest.mark.parametrize("name", OUTLINES)
def test_an_outline_says_how_each_step_is_run(loaded: Callable[[str], FlowSpec], name: str) -> None:
    boxes = outline(compile_flow(loaded(f"tests/flows/{name}.py")))
    assert "\n".join([*lines(boxes), ""]) == OUTLINES[name]


@pytest.mark.parametrize("name", FLOWS)
def test_every_step_is_drawn_in_its_frame(loaded: Callable[[str], FlowSpec], name: str) -> None:
    spec = loaded(name)
    boxes = outline(compile_flow(spec))
    assert {s.name for s in spec.steps} <= set(names(boxes))
    drawing = ElementTree.fromstring(draw("A & <b>", boxes))
    width, height = (float(drawing.attrib[side]) for side in ("width", "height"))
    frames = [
        [float(shape.attrib[n]) for n in ("x", "y", "width", "height")]
        for shape in drawing.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert len(frames) == len(list(names(boxes)))
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in frames)
    words = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert words[0] == "A & <b>" and {s.name for s in spec.steps} <= set(words)


def names(boxes: tuple[Box, ...]) -> list[str]:
    """The names of all boxes, those within others too."""
    return [name for box in boxes for name in (box.name, *names(box.inner))]


def test_it_is_shown_without_building_anything(metaflow: Metaflow, tmp_path: Path) -> None:
    flow = hello(tmp_path / "flows/flow.py")
    shown = succeed(metaflow(flow, "--quiet", "flyte", "show"))
    assert shown.out == "Hello\n    start\n    end    after start\n"
    assert not (flow.parent / ".mfbuild").exists()
    whole = json.loads(succeed(metaflow(flow, "flyte", "show", "--as", "json")).out)
    assert [node["name"] for node in whole["nodes"]] == ["start", "end"]
    assert sorted(whole["flyte"]) == ["launch_plan", "sub_workflows", "tasks", "workflow"]
    drawn = succeed(metaflow(flow, "flyte", "show", "--as", "svg")).out
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
