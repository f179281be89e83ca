"""What depends on what, as Mermaid, as a Graphviz document, or as an SVG of our own layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envkit.address import Address
from envkit.spec.environment import Environment

_SHAPES = {"service": ("[", "]"), "image": ("([", "])"), "volume": ("[(", ")]"), "network": ("((", "))")}
_COLOURS = {"service": "#dbeafe", "image": "#fef3c7", "volume": "#dcfce7", "network": "#f3e8ff"}
_BOX, _ROW, _GAP, _LINE, _LETTER = 34, 20, 90, 30, 7.6
Edges = Sequence[tuple[Address, Address, str]]


def edges_of(environment: Environment) -> Edges:
    """(dependent, what it needs, label): the label is the condition where it is more than having been made."""
    return [
        (resource.address, item.address, "" if item.condition == "applied" else item.condition)
        for resource in environment.resources.values()
        for item in resource.depends_on
        if item.address in environment.resources
    ]


def mermaid(environment: Environment) -> str:
    """A flowchart in Mermaid's language."""
    lines = ["flowchart LR"]
    for address in environment.resources:
        left, right = _SHAPES.get(address.kind, ("[/", "/]"))
        lines.append(f'  {_identifier(address)}{left}"{address}"{right}')
    for source, target, label in edges_of(environment):
        arrow = f"-->|{label}|" if label else "-->"
        lines.append(f"  {_identifier(source)} {arrow} {_identifier(target)}")
    return "\n".join(lines)


def dot(environment: Environment) -> str:
    """A digraph in Graphviz's language."""
    lines = ["digraph environment {", "  rankdir=LR; node [shape=box, style=filled];"]
    for address in environment.resources:
        lines.append(f'  "{address}" [fillcolor="{_COLOURS.get(address.kind, "#eeeeee")}"];')
    for source, target, label in edges_of(environment):
        lines.append(f'  "{source}" -> "{target}"' + (f' [label="{label}"];' if label else ";"))
    return "\n".join([*lines, "}"])


def svg(environment: Environment) -> str:
    """A picture: what is needed stands to the right of what needs it."""
    from html import escape

    edges = edges_of(environment)
    columns = _columns(list(environment.resources), edges)
    widths = [max(len(str(item)) for item in column) * _LETTER + 24 for column in columns]
    places: dict[Address, tuple[float, float, float]] = {}
    left = 20.0
    for column, width in zip(columns, widths, strict=True):
        for row, address in enumerate(column):
            places[address] = (left, _LINE + row * (_BOX + _ROW), width)
        left += width + _GAP
    tall = max(map(len, columns), default=0) * (_BOX + _ROW) + 2 * _LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left:.0f}" height="{tall:.0f}" '
        'font-family="monospace" font-size="12.5">',
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z"/></marker></defs>',
        f"<title>{escape(environment.name)}</title>",
    ]
    for source, target, label in edges:
        (x, y, width), (to_x, to_y, _) = places[source], places[target]
        start, end, middle = x + width, to_x, (x + width + to_x) / 2
        y, to_y = y + _BOX / 2, to_y + _BOX / 2
        curve = f"M{start:.0f},{y:.0f} C{middle:.0f},{y:.0f} {middle:.0f},{to_y:.0f} {end:.0f},{to_y:.0f}"
        parts.append(f'<path d="{curve}" fill="none" stroke="#64748b" marker-end="url(#a)"/>')
        if label:
            parts.append(f'<text x="{middle:.0f}" y="{(y + to_y) / 2 - 4:.0f}" text-anchor="middle" font-size="10" '
                         f'fill="#64748b">{escape(label)}</text>')  # fmt: skip
    for address, (x, y, width) in places.items():
        parts.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{_BOX}" rx="6" '
                     f'fill="{_COLOURS.get(address.kind, "#eeeeee")}" stroke="#64748b"/>'
                     f'<text x="{x + 12:.0f}" y="{y + 22:.0f}">{escape(str(address))}</text>')  # fmt: skip
    return "\n".join([*parts, "</svg>"])


def _columns(addresses: Sequence[Address], edges: Edges) -> list[list[Address]]:
    """Every address one column to the right of the last that needs it."""
    needs: Mapping[Address, list[Address]] = {address: [] for address in addresses}
    for source, target, _ in edges:
        needs[source].append(target)
    level = dict.fromkeys(addresses, 0)
    for _ in addresses:  # as often as the longest chain at most; a cycle, which plans refuse, ends with it
        moved = False
        for source, targets in needs.items():
            for target in targets:
                if level[target] <= level[source] < len(addresses):
                    level[target], moved = level[source] + 1, True
        if not moved:
            break
    columns: list[list[Address]] = [[] for _ in range(max(level.values(), default=0) + 1)]
    for address in addresses:
        columns[level[address]].append(address)
    return [column for column in columns if column]


def _identifier(address: Address) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in str(address))
