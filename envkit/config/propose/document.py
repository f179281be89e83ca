"""The YAML that a proposal is made from: the compose file's own text where it is one file, else what its files say.

Comments, quotes, anchors and `${…}` of one file stay. A project of several files, or one that extends and includes, is
taken as it was merged, in long forms, which are made short again.
"""

from __future__ import annotations

import io
import re

from envkit.config.format import formatted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from envkit.config.model import Model

_SECTIONS = ("name", "include", "images", "services", "jobs", "networks", "volumes", "secrets", "configs", "models")
HEADER = "# yaml-language-server: $schema=./.envkit/environment.schema.json\n"
_SECTION = re.compile(r"^((?!#).*\S)\n+(?=(?:images|services|networks|volumes|secrets|configs|targets):)", re.MULTILINE)
_VERSION = re.compile(r"^version\s*:.*\n", re.MULTILINE)
_INTERPOLATED = re.compile(r"\$\{|\$[A-Za-z_]")


def read(text: str) -> Any | None:
    """The document of a text with its comments; None where it cannot be changed as it stands."""
    from ruamel.yaml.error import YAMLError

    try:
        document = _yaml().load(_VERSION.sub("", text))
    except YAMLError:
        return None
    if not isinstance(document, dict) or "include" in document or not isinstance(document.get("services"), dict):
        return None
    services = document["services"].values()
    if any(not isinstance(item, dict) or "extends" in item for item in services):
        return None
    return None if "!reset" in text or "!override" in text else document


def merged(model: Model) -> Any:
    """The document of a model that was loaded without interpolation."""
    plain = dict(model.plain)
    for name, service in plain["services"].items():
        plain["services"][name] = _short_service(service)
    return tree({key: plain[key] for key in (*_SECTIONS, *plain) if key in plain and plain[key] not in (None, {}, [])})


def tree(value: Any) -> Any:
    """Plain data as mappings and lists that can hold comments."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

    if isinstance(value, dict):
        made = CommentedMap()
        for key, item in value.items():
            made[key] = tree(item)
        return made
    if isinstance(value, (list, tuple)):
        items = CommentedSeq(tree(item) for item in value)
        if all(not isinstance(item, (dict, list)) and len(str(item)) < 60 and "\n" not in str(item) for item in items):
            items.fa.set_flow_style()
            for at, item in enumerate(items):  # YAML 1.1, which libyaml reads, knows no a:b between brackets
                if isinstance(item, str) and ":" in item:
                    items[at] = DoubleQuotedScalarString(item)
        return items
    if isinstance(value, str) and "\n" in value.strip("\n"):
        return LiteralScalarString(value)
    if isinstance(value, str) and (re.fullmatch(r"[\d:._]+|0o?\d+|y|n|yes|no|on|off", value, re.IGNORECASE)):
        return DoubleQuotedScalarString(value)
    return value


def write(document: Any, name: str) -> str:
    """The document's text in envkit's layout. name: the file, for messages. Raises EnvkitError."""
    out = io.StringIO()
    _yaml().dump(document, out)
    text = formatted(out.getvalue(), name)
    text = _SECTION.sub(r"\1\n\n", text)
    return text if text.startswith("# yaml-language-server") else HEADER + text


def whole(mapping: Any) -> Any:
    """The mapping with what `<<` gives it as its own keys, so that it can be changed alone."""
    from ruamel.yaml.comments import Comment

    if not getattr(mapping, "merge", None):
        return mapping
    made = tree({})
    for key, item in mapping.items():
        shared = any(isinstance(other, dict) and other.get(key) is item for other in mapping.merge)
        made[key] = tree(_plain(item)) if shared else item
    setattr(made, Comment.attrib, mapping.ca)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def rename(mapping: Any, key: str, other: str, value: Any) -> None:
    """Put other: value in the place of key, with the comments that follow it."""
    comments = _comments_after(mapping, key)
    place = list(mapping).index(key)
    del mapping[key]
    mapping.insert(place, other, value)
    if comments is not None:
        mapping.ca.items[other] = [None, None, comments, None]


def _comments_after(mapping: Any, key: Any) -> Any:
    """The comments behind the last line of a value."""
    value = mapping[key]
    if value and hasattr(value, "fa") and not value.fa.flow_style():
        return _comments_after(value, len(value) - 1 if isinstance(value, list) else list(value)[-1])
    found = mapping.ca.items.get(key)
    return found and found[0 if isinstance(mapping, list) else 2]


def remark(mapping: Any, key: str, text: str) -> None:
    """Put a comment above a key of a mapping."""
    mapping.yaml_set_comment_before_after_key(key, before=text)


def interpolated(text: Any) -> bool:
    """Whether a value has variables in it."""
    return isinstance(text, str) and bool(_INTERPOLATED.search(text.replace("$$", "")))


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.width = 1 << 20
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _short_service(service: Mapping[str, Any]) -> dict[str, Any]:
    """Long forms that say no more than the short ones as those."""
    made = dict(service)
    if "ports" in made:
        made["ports"] = [_short_port(item) for item in made["ports"]]
    if "volumes" in made:
        made["volumes"] = [_short_volume(item) for item in made["volumes"]]
    if isinstance(made.get("networks"), dict) and not any(made["networks"].values()):
        made["networks"] = list(made["networks"])
    needs = made.get("depends_on")
    if isinstance(needs, dict):
        made["depends_on"] = {name: _short_need(item) for name, item in needs.items()}
        if all(item == {"condition": "service_started"} for item in made["depends_on"].values()):
            made["depends_on"] = list(needs)
    if isinstance(made.get("build"), dict) and set(made["build"]) == {"context"}:
        made["build"] = made["build"]["context"]
    for kind in ("secrets", "configs"):
        made[kind] = [item["source"] if item in ({"source": item["source"]}, {"source": item["source"],
                      "target": item["source"]}) else item for item in made.get(kind) or ()]  # fmt: skip
    return {key: value for key, value in made.items() if value not in (None, [], {})}


def _short_need(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if (key, value) != ("required", True)}


def _short_port(item: Any) -> Any:
    if not isinstance(item, dict) or set(item) - {"mode", "protocol", "target", "published", "host_ip"}:
        return item
    if item.get("mode") not in (None, "ingress"):
        return item
    parts = [item.get("host_ip"), item.get("published"), item["target"]]
    if parts[0] and not parts[1]:
        parts[1] = ""
    text = ":".join(str(part) for part in parts if part is not None)
    return text if item.get("protocol") in (None, "tcp") else f"{text}/{item['protocol']}"


def _short_volume(item: Any) -> Any:
    if not isinstance(item, dict) or item.get("type") not in ("volume", "bind"):
        return item
    rest = {key: value for key, value in item.items() if value not in (None, {}, False)}
    options = rest.pop("bind", None)
    if set(rest) - {"type", "source", "target", "read_only"} or options not in (None, {"create_host_path": True}):
        return item
    source = str(rest.get("source") or "")
    if rest["type"] == "bind" and not source.startswith((".", "/", "~")):
        if "$" in source or not source:
            return item
        rest["source"] = f"./{source}"
    parts: Sequence[str] = [str(rest[key]) for key in ("source", "target") if key in rest]
    return ":".join([*parts, *(["ro"] if rest.get("read_only") else [])])
