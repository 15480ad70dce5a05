"""An outline as a drawing: nodes from left to right, what is inside of one within its frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mfbuild.flyte.outline import Box

_CHARACTER, _LINE, _PAD, _GAP = 7.5, 18.0, 10.0, 36.0
_FILLS = {
    "task": "#eef4fb",
    "array": "#e3f1e4",
    "choice": "#fdf3dc",
    "workflow": "#f4f4f4",
    "expanded": "#f3e9f7",
}


@dataclass(frozen=True, slots=True)
class _Placed:
    """A box with its size; `inside` are those within it, by their corner relative to its own."""

    box: Box
    width: float
    height: float
    inside: tuple[tuple[float, float, _Placed], ...]


def draw(title: str, boxes: Sequence[Box]) -> str:
    """The outline as SVG, the same bytes for the same outline."""
    width, height, placed = _lay(boxes)
    frame_width, frame_height = width + 2 * _PAD, height + 2 * _PAD + _LINE
    shapes = [f'<text x="{_PAD:g}" y="{_LINE:g}" font-weight="bold">{escape(title)}</text>']
    shapes += _shapes(placed, _PAD, _PAD + _LINE)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{frame_width:g}" '
            f'height="{frame_height:g}" font-family="monospace" font-size="12">',
            '<defs><marker id="arrow" markerWidth="8" markerHeight="8" refX="7" refY="4" '
            'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
            *shapes,
            "</svg>",
            "",
        ]
    )


def _lay(boxes: Sequence[Box]) -> tuple[float, float, tuple[tuple[float, float, _Placed], ...]]:
    """Put boxes into columns, each behind those that it waits for: the size, and the places."""
    depths: dict[str, int] = {}
    for box in boxes:  # a compiled workflow has them in order
        depths[box.id] = 1 + max((depths.get(name, -1) for name in box.after), default=-1)
    placed: list[tuple[float, float, _Placed]] = []
    left = height = 0.0
    for depth in range(max(depths.values(), default=-1) + 1):
        column = [_sized(box) for box in boxes if depths[box.id] == depth]
        top = 0.0
        for one in column:
            placed.append((left, top, one))
            top += one.height + _PAD
        left += max(one.width for one in column) + _GAP
        height = max(height, top - _PAD)
    return max(left - _GAP, 0.0), height, tuple(placed)


def _sized(box: Box) -> _Placed:
    width, height, inside = _lay(box.inner)
    text = max(len(box.name), len(box.note)) * _CHARACTER
    lines = _LINE * (2 if box.note else 1)
    shifted = tuple((x + _PAD, y + lines + _PAD, one) for x, y, one in inside)
    below = height + _PAD if inside else 0.0
    return _Placed(box, max(width, text) + 2 * _PAD, lines + _PAD + below, shifted)


def _shapes(placed: Sequence[tuple[float, float, _Placed]], left: float, top: float) -> list[str]:
    corners = {one.box.id: (left + x, top + y, one) for x, y, one in placed}
    shapes = []
    for x, y, one in corners.values():
        shapes += _node(one, x, y)
        for name in one.box.after:
            if name in corners:
                shapes.append(_arrow(corners[name], (x, y, one)))
    return shapes


def _node(one: _Placed, x: float, y: float) -> list[str]:
    box = one.box
    shapes = [
        f'<rect x="{x:g}" y="{y:g}" width="{one.width:g}" height="{one.height:g}" rx="4" '
        f'fill="{_FILLS[box.kind]}" stroke="#888"/>',
        f'<text x="{x + _PAD:g}" y="{y + _LINE:g}">{escape(box.name)}</text>',
    ]
    if box.note:
        shapes.append(
            f'<text x="{x + _PAD:g}" y="{y + 2 * _LINE:g}" fill="#666">{escape(box.note)}</text>'
        )
    return shapes + _shapes(one.inside, x, y)


def _arrow(tail: tuple[float, float, _Placed], head: tuple[float, float, _Placed]) -> str:
    (x1, y1, before), (x2, y2, after) = tail, head
    begin = (x1 + before.width, y1 + before.height / 2)
    end = (x2, y2 + after.height / 2)
    return (
        f'<line x1="{begin[0]:g}" y1="{begin[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" '
        'stroke="#555" marker-end="url(#arrow)"/>'
    )
