"""Orders of work: a topological order that is stable, and the search for edges that would close a circle.

Pure; linear in nodes and edges (plus the heap's logarithm).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import TypeVar

    Node = TypeVar("Node")


def topological(nodes: Sequence[Node], before: Mapping[Node, Collection[Node]]) -> list[Node]:
    """nodes so ordered that before[n] come ahead of n; among the free ones the given order is kept.

    Edges to nodes outside of `nodes` are left out. A circle (the loader reports those with their positions) does not
    hang: its members come last, in the given order.
    """
    rank = {node: position for position, node in enumerate(nodes)}
    waiting = [0] * len(nodes)
    after: list[list[int]] = [[] for _ in nodes]
    for node, position in rank.items():
        for earlier in before.get(node, ()):
            if (source := rank.get(earlier)) is not None and source != position:
                after[source].append(position)
                waiting[position] += 1
    free = [position for position, count in enumerate(waiting) if not count]
    heapify(free)
    order: list[int] = []
    while free:
        position = heappop(free)
        order.append(position)
        for later in after[position]:
            waiting[later] -= 1
            if not waiting[later]:
                heappush(free, later)
    if len(order) < len(nodes):
        placed = set(order)
        order += [position for position in range(len(nodes)) if position not in placed]
    return [nodes[position] for position in order]


def reaches(start: Node, goal: Node, before: Mapping[Node, Iterable[Node]]) -> bool:
    """Whether goal must come ahead of start, over any number of edges."""
    seen = {start}
    stack = [start]
    while stack:
        node = stack.pop()
        if node == goal:
            return True
        for earlier in before.get(node, ()):
            if earlier not in seen:
                seen.add(earlier)
                stack.append(earlier)
    return False
