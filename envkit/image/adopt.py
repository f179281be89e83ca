"""A foreign image becomes one of the store: its layers are checked against their diff ids and unpacked, then its
configuration and manifest are kept."""

from __future__ import annotations

from collections.abc import Callable

from envkit.errors import ImageError
from envkit.events import Emit, Event, EventKind
from envkit.image.layers import architecture, make_tree, verify_layer
from envkit.image.manifest import LayerInfo, Manifest, decode_config, layer_infos
from envkit.image.store import Store


def adopt(  # noqa: PLR0913  (one call of two places; a class would hold the same)
    store: Store, manifest: Manifest, config_data: bytes, manifest_data: bytes, source: str, emit: Emit, *,
    action: str, address: str = "", ready: Callable[[LayerInfo], None] = lambda layer: None,
) -> str:  # fmt: skip
    """The image's digest. source: where it comes from, for messages; action: `load` or `pull`, for events; ready:
    returns once the layer's blob is in the store. Raises ImageError for what is damaged or hostile."""
    what = f"{source}: {manifest.config.digest}"
    config = decode_config(config_data, what)
    layers = layer_infos(manifest, config, what)
    found = config.get("architecture")
    if found and found != architecture():
        text = f"{source} is for {found}, this machine is {architecture()}"
        emit(Event(EventKind.WARNING, address, action, text))
    for place, layer in enumerate(layers):
        ready(layer)
        text = f"layer {place + 1}/{len(layers)} {layer.digest[7:19]}"
        data = {"layer": place + 1, "layers": len(layers), "bytes": layer.size}
        if action == "load":
            emit(Event(EventKind.PROGRESS, address, action, text, data))
        if store.is_tree(store.tree_path(layer)):
            verify_layer(store, layer)
            continue
        try:
            lost = make_tree(store, layer, layers[:place])
        except ImageError as error:
            place_text = f"{source}: layer {place + 1} of {len(layers)}: {error.detail}"
            raise ImageError(error.summary, place_text, error.hint) from error
        if lost:
            text = f"layer {layer.digest[7:19]}: {len(lost)} things cannot be kept here, as {lost[0]}"
            emit(Event(EventKind.WARNING, address, action, text, {"lost": list(lost)}))
    store.put_bytes(config_data, manifest.config.media_type)
    return store.put_bytes(manifest_data, manifest.media_type).digest
