"""Images and their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envkit.image.reference import familiar
from envkit.views.table import bytes_text, render_table
from envkit.views.terminal import Style

if TYPE_CHECKING:
    from envkit.image.store import StoredImage


def image_row(item: StoredImage) -> dict[str, Any]:
    """One image of the store as plain JSON values."""
    return {
        "references": list(item.references), "digest": item.digest, "layers": len(item.layers),
        "size": sum(layer.size for layer in item.layers),
    }  # fmt: skip


def render_images(rows: Sequence[Mapping[str, Any]], style: Style) -> str:
    """A row per reference."""
    table = [
        [name, row["digest"][7:19], str(row["layers"]), bytes_text(row["size"])]
        for row in rows
        for name in map(familiar, row["references"]) or ["(no name)"]
    ]
    return render_table(["IMAGE", "DIGEST", "LAYERS", "SIZE"], sorted(table), style)


def render_image(found: Mapping[str, Any], style: Style) -> str:
    """`image inspect` for people: the configuration, then the layers."""
    lines = [style(str(found["name"]), "bold"), f"  digest      {found['digest']}"]
    config = found["config"].get("config") or found["config"]
    for key in ("User", "WorkingDir", "Entrypoint", "Cmd", "Env", "ExposedPorts", "Volumes", "StopSignal"):
        if value := config.get(key):
            shown = ", ".join(value) if isinstance(value, list | dict) else str(value)
            lines.append(f"  {key.lower().ljust(11)} {shown}")
    return "\n".join([*lines, "", render_layers(found["layers"], style)])


def render_layers(layers: Sequence[Mapping[str, Any]], style: Style, *, files: bool = False) -> str:
    """A row per layer, the lowest first."""
    head = ["LAYER", "SIZE", "ADDED", "CHANGED", "DELETED", "WASTED", "MADE BY", "SOURCE"]
    table = []
    for layer in layers:
        table.append([
            str(layer["digest"])[7:19], bytes_text(layer["size"]), str(layer["added"]), str(layer["changed"]),
            str(layer["deleted"]), bytes_text(layer["wasted_bytes"]), _short(str(layer.get("created_by") or "-")),
            str(layer.get("source") or "-"),
        ])  # fmt: skip
    text = render_table(head, table, style)
    if not files:
        return text
    blocks = [text]
    for layer in layers:
        names = layer.get("files", [])
        blocks.append("\n".join([style(str(layer["digest"])[7:19], "bold"), *(f"  {_file(item)}" for item in names)]))
    return "\n\n".join(blocks)


def _file(item: Any) -> str:
    if isinstance(item, Mapping):
        return " ".join(str(part) for part in item.values())
    return str(item)


def _short(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
