"""What a layer is made from, as a key, and what an image's configuration becomes. Pure: no file is read here.

A layer's key is the fingerprint of its request (kind, arguments, input files) and of what it sees of the state below
it: everything for a kind that looks at the whole root, next to nothing for a `copy`, which therefore survives a change
of the layers below. Two machines compute equal keys, as no host path, mirror or clock is part of one.
Source of the configuration's keys: OCI image-spec config.md; Healthcheck: Docker image-spec v1.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envkit.digest import fingerprint, sha256
from envkit.spec.canonical import ImageSpec, LayerSpec
from envkit.spec.layers import HOST_PATHS

FORMAT = 1
"""Counted up when a kind's meaning changes, so that no layer made by an older envkit is taken for a new one."""

EPOCH = 1_577_836_800
"""2020-01-01T00:00:00Z: no file in a layer is younger, and what a build makes is exactly this old."""

CREATED = "2020-01-01T00:00:00Z"

CHAINED = frozenset({"apt", "pip", "npm", "remove", "run"})
"""The kinds that depend on everything below them."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def request(layer: LayerSpec) -> dict[str, Any]:
    """What the layer asks for, without the paths of this machine: `inputs` stands for their content."""
    args = layer["args"]
    keep = {"sources"} if "from" in args else set()
    asked = {"kind": layer["kind"], "args": _portable(args, keep)}
    if "inputs" in layer:
        asked["inputs"] = layer["inputs"]
    return asked


def layer_key(layer: LayerSpec, seen: Any) -> str:
    """The key of a layer that sees `seen` (JSON) of the state below it."""
    return fingerprint({"format": FORMAT, "request": request(layer), "seen": seen})


def base_key(asked: Mapping[str, Any]) -> str:
    """The key of a base that is made here; asked is all that it depends on."""
    return fingerprint({"format": FORMAT, "base": dict(asked)})


def image_key(spec: ImageSpec, others: Mapping[str, str], places: Sequence[str], lock: bytes) -> str:
    """The key of a whole image. others: the digests of the images in it; places: where its layers are written."""
    wanted = {"base": _portable(spec.get("base")), "layers": [request(layer) for layer in spec.get("layers") or ()]}
    wanted |= {"name": spec["name"], "config": spec.get("config") or {}}
    return fingerprint(
        {"format": FORMAT, "image": wanted, "others": dict(others), "places": list(places), "lock": sha256(lock)}
    )


def _sources(spec: ImageSpec) -> list[Mapping[str, Any]]:
    """Every mapping of the spec that can name another image."""
    return [spec.get("base") or {}, *(layer["args"].get("from") or {} for layer in spec.get("layers") or ())]


def images_in(spec: ImageSpec) -> set[str]:
    """The keys of the other images that it starts from or copies from."""
    return {source["image"] for source in _sources(spec) if "image" in source}


def references_in(spec: ImageSpec) -> set[str]:
    """The references that it starts from or copies from."""
    return {source["reference"] for source in _sources(spec) if "reference" in source}


def _portable(value: Any, keep: set[str] | frozenset[str] = frozenset()) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items() if key not in HOST_PATHS or key in keep}
    return [_portable(item) for item in value] if isinstance(value, list) else value


def title(layer: LayerSpec) -> str:
    """One line about a layer, for people and for the image's history: `apt nginx`, `copy ./app /srv/app`."""
    kind, args = layer["kind"], layer["args"]
    words: list[str] = [args["title"]] if "title" in args else []
    if kind in ("apt", "pip", "npm"):
        words = list(args.get("packages", ()))
        words += [_base_name(args[key]) for key in ("requirements", "context") if key in args]
    elif kind == "copy":
        origin = [f"from={next(iter(args['from'].values()))}"] if "from" in args else []
        words = [*origin, *(_base_name(path) for path in args["sources"]), args["to"]]
    elif kind == "files":
        words = sorted(args["files"])
    elif kind == "archive":
        words = [_base_name(args["source"]), args["to"]]
    elif kind == "user":
        words = [args["name"]]
    elif kind == "link":
        words = [f"{path} -> {target}" for path, target in sorted(args["links"].items())]
    elif kind == "remove":
        words = list(args["paths"])
    elif kind == "run":
        words = args["argv"][2:] if args["argv"][:2] == ["/bin/sh", "-ec"] else list(args["argv"])
    text = " ".join(" ".join(words).split())
    return f"{kind} {text if len(text) <= 200 else text[:199] + '…'}"


def _base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or "/"


def environment_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The variables of an OCI configuration's `config`."""
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    return {name: value for name, _, value in pairs if name}


def image_config(inherited: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The `config` object of an image: the base's, changed by ImageSpec.config.

    Variables, labels, ports and volumes add up; the rest replaces. A new entrypoint without a command drops the base's
    command, which was meant as the arguments of another program (as in a Dockerfile).
    """
    config = {key: value for key, value in inherited.items() if value not in (None, [], {}, "")}
    for word, key in (("user", "User"), ("workdir", "WorkingDir"), ("stop_signal", "StopSignal")):
        if word in wanted:
            config[key] = str(wanted[word])
    if "entrypoint" in wanted:
        config["Entrypoint"] = list(wanted["entrypoint"])
        config.pop("Cmd", None)
    if "command" in wanted:
        config["Cmd"] = list(wanted["command"])
    if wanted.get("environment"):
        merged = {**environment_of(config), **wanted["environment"]}
        config["Env"] = [f"{name}={value}" for name, value in merged.items() if value is not None]
    if wanted.get("labels"):
        config["Labels"] = {**(config.get("Labels") or {}), **wanted["labels"]}
    if wanted.get("expose"):
        ports = [str(port) if "/" in str(port) else f"{port}/tcp" for port in wanted["expose"]]
        config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **{port: {} for port in ports}}
    if wanted.get("volumes"):
        config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in wanted["volumes"]}}
    if "healthcheck" in wanted:
        config["Healthcheck"] = _healthcheck(wanted["healthcheck"])
    return config


def _healthcheck(check: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds become nanoseconds."""
    names = {
        "interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod", "start_interval": "StartInterval",
    }  # fmt: skip
    encoded: dict[str, Any] = {"Test": list(check["test"])} if "test" in check else {}
    encoded.update({names[key]: round(value * 1e9) for key, value in check.items() if key in names})
    if "retries" in check:
        encoded["Retries"] = check["retries"]
    return encoded
