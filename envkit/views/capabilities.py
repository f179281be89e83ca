"""What each backend honours, as the tables of docs/backends.md: `python -m envkit.views.capabilities docs/backends.md`
writes them between the page's two marks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from envkit.backend.features import FEATURES, Declaration, Feature, Limit
from envkit.backend.select import declarations
from envkit.diagnostics import Severity

BEGIN, END = "<!-- generated from the backends' declarations -->", "<!-- end of what is generated -->"
_KINDS = {"service": "Services", "network": "Networks", "volume": "Volumes", "secret": "Secrets", "config": "Configs"}


def tables(backends: Sequence[Declaration]) -> str:
    """One table of all features, then a list per backend that says why and what to do."""
    lines = [
        "| In the YAML | " + " | ".join(item.backend for item in backends) + " |",
        "| --- |" + " --- |" * len(backends),
    ]
    for feature in FEATURES:
        cells = [_cell(item.limits.get(feature.id)) for item in backends]
        lines.append(f"| `{feature.name}` | " + " | ".join(cells) + " |")
    for item in backends:
        lines += ["", f"### {item.backend}", ""]
        lines += list(_reasons(item))
    return "\n".join(lines)


def _cell(limit: Limit | None) -> str:
    if limit is None:
        return "yes"
    word = "error" if limit.severity is Severity.ERROR else "warning"
    return f"API {limit.since[0]}.{limit.since[1]}, else {word}" if limit.since else word


def _reasons(item: Declaration) -> Iterator[str]:
    """A line per limit, in the order of the table; limits that say the same share one."""
    said: dict[tuple[str, str, str], list[Feature]] = {}
    for feature in FEATURES:
        if limit := item.limits.get(feature.id):
            said.setdefault((str(limit.severity), limit.why, limit.hint), []).append(feature)
    for (severity, why, hint), features in said.items():
        names = ", ".join(f"`{feature.name}`" for feature in features)
        yield f"- {names}: {severity}: {why}." + (f" Way out: {hint}." if hint else "")


def page(text: str) -> str:
    """A page with its generated part made anew. Raises ValueError where the marks are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page lacks the marks of what is generated")
    return f"{before}{BEGIN}\n\n{tables(declarations())}\n\n{END}{after}"


def main(path: str) -> None:
    """Write the tables of a page anew."""
    with open(path, encoding="utf-8") as file:
        made = page(file.read())
    with open(path, "w", encoding="utf-8") as file:
        file.write(made)


if __name__ == "__main__":
    main(sys.argv[1])
