"""What this machine can do, what it lacks, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from envkit.views.terminal import Style

if TYPE_CHECKING:
    from envkit.host.doctor import Finding


def render_findings(findings: Sequence[Finding], style: Style, *, only_problems: bool = False) -> str:
    """A line per finding; a missing one says which package brings it and what works without."""
    lines: list[str] = []
    for item in findings:
        if item.ok and only_problems:
            continue
        mark = style("✓", "green") if item.ok else style("✗", "red") if item.required else style("!", "yellow")
        lines.append(f"{mark} {style(item.name, 'bold')}: {item.detail}")
        if not item.ok:
            if item.package:
                lines.append(f"    {style('install', 'cyan')}  apt-get install {item.package}")
            if item.consequence:
                lines.append(f"    {style('without', 'dim')}  {item.consequence}")
    missing = sum(1 for item in findings if not item.ok)
    required = sum(1 for item in findings if not item.ok and item.required)
    if not missing:
        return "\n".join(lines) if only_problems else "\n".join([*lines, "", "Everything is there."])
    verdict = f"{required} of them must be mended first." if required else "envkit works without them."
    return "\n".join([*lines, "", f"{missing} missing; {verdict}"])
