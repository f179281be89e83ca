"""Compose projects made at random from the schema: what the differential tests ask envkit and Compose about.

A project is a `judge.Case`: files, arguments, variables. One seed is one project. `attribute` writes one attribute in
every odd way; `project` puts files, overrides, `extends`, `include`, profiles, env files and flags together.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from tests.support.judge import Case

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases" / "config"
SCHEMA = json.loads((ROOT / "schemas" / "compose.schema.json").read_text(encoding="utf-8"))


def _words() -> dict[str, list[str]]:
    """Key -> texts that are written as its value; `odd` is for any key."""
    found: dict[str, list[str]] = {}
    key = ""
    for line in (CASES / "words.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            found[key].append(line[4:])
        else:
            key = line
            found[key] = []
    return found


WORDS = _words()
_ALIKE = {
    "command": "entrypoint",
    "labels": "annotations aux_addresses",
    "memory": "mem_limit mem_reservation memswap_limit shm_size size rate",
    "duration": "stop_grace_period interval timeout start_period start_interval delay monitor window",
    "network_mode": "pid ipc uts cgroup userns_mode",
    "dns": "dns_search dns_opt",
    "cap_add": "cap_drop group_add no_cache_filter tags",
    "links": "external_links",
    "driver_opts": "options",
    "file": "dockerfile context path source target",
}
LIKE = {name: kind for kind, names in _ALIKE.items() for name in names.split()}
_PARTS = re.split(r"(?m)^--- (\S+)\n", (CASES / "around.txt").read_text(encoding="utf-8"))
FILES = dict(zip(_PARTS[1::2], _PARTS[2::2], strict=True))
SECTIONS = {
    "volumes": "v: {}", "networks": "n: {}", "secrets": "s: {file: ./s}", "configs": "g: {content: c}",
    "models": "m: {model: x}",
}  # fmt: skip
DOTENV = (
    "A=dot\nB=dotb\n", "B='q'\nCOMPOSE_PROFILES=p1\n", "COMPOSE_PROJECT_NAME=envname\n", "B=\"$A\"\nC=${B}\n",
)  # fmt: skip
FLAGS = {
    "--profile p1": 0.2, "--profile *": 0.05, "--env-file two.env": 0.1, "-p other": 0.1,
    "--project-directory sub": 0.07,
}  # fmt: skip
OTHERS = "b: {image: b, build: .}, p: {image: p, profiles: [p1]}"


class Composer:
    """One project at a time. random: the only source of choices."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.anchors = 0

    def odd(self) -> str:
        return self.random.choice(WORDS["odd"])

    def value(self, name: str, schema: dict[str, Any], depth: int = 0) -> str:
        """A value for the key name as flow YAML: mostly one that fits, now and then any other."""
        if self.random.random() < (0.3 if depth == 0 else 0.12):
            return self.odd()
        words = WORDS.get(LIKE.get(name, name))
        if words and self.random.random() < 0.75:
            word = self.random.choice(words)
            listed = name in ("ports", "volumes") and word[:1] != "[" and schema_type(schema) == "array"
            return f"[{word}]" if listed else word
        return self.fitting(name, schema, depth)

    def fitting(self, name: str, schema: dict[str, Any], depth: int) -> str:
        schema = resolve(schema)
        if "oneOf" in schema or "anyOf" in schema:
            return self.value(name, self.random.choice(schema.get("oneOf") or schema["anyOf"]), depth + 1)
        if "enum" in schema:
            return json.dumps(self.random.choice(schema["enum"]))
        kinds = schema.get("type", "string")
        kind = self.random.choice(kinds) if isinstance(kinds, list) else kinds
        if kind == "object":
            return self.mapping(schema, depth)
        if kind == "array":
            count = self.random.choice((0, 1, 1, 2, 3))
            items = [self.value(f"{name}[]", schema.get("items", {}), depth + 1) for _ in range(count)]
            return f"[{', '.join(items)}]"
        return self.random.choice({
            "boolean": ("true", "false", "yes", "'true'", '"${T}"'), "integer": ("0", "1", "5", "'5'", '"${N}"', "-1"),
            "number": ("0", "1", "0.5", "1.5", "'0.5'", '"${N}"', "1e-2", "100"), "null": ("null",),
            "string": ("x", "abc", "'${A}'", '"a b"', "5", "x-1", "'${B:-x}'"),
        }[kind])  # fmt: skip

    def mapping(self, schema: dict[str, Any], depth: int) -> str:
        known = list((schema.get("properties") or {}).items())
        pairs: dict[str, str] = {}
        for key, below in self.random.sample(known, min(len(known), self.random.choice((1, 1, 2, 3)))):
            pairs[key] = self.value(key, below, depth + 1)
        patterns = [below for pattern, below in (schema.get("patternProperties") or {}).items() if pattern != "^x-"]
        if patterns or isinstance(schema.get("additionalProperties"), dict):
            below = patterns[0] if patterns else schema["additionalProperties"]
            for _ in range(self.random.choice((0, 1, 2))):
                pairs[self.random.choice(("a", "b", "A", "n", "x.y", "Q"))] = self.value("item", below, depth + 1)
        if self.random.random() < 0.05:
            pairs[self.random.choice(("x-more", "unknown", "''"))] = self.odd()
        return "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"

    def service(self, count: int, keys: list[str] | None = None, image: str = "image: i") -> str:
        schema = resolve(SCHEMA["properties"]["services"]["patternProperties"]["^[a-zA-Z0-9._-]+$"])
        known = {**schema["properties"], "extends": {"type": "string"}}
        pairs = dict([image.split(": ")]) if image and self.random.random() > 0.05 else {}
        if keys is None:
            keys = self.random.sample(sorted(known), count)
        for key in keys:
            tag = self.random.choice(("!reset ", "!override ")) if not image and self.random.random() < 0.1 else ""
            pairs[key] = tag + self.value(key, known[key])
        return "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"

    def keys(self, count: int) -> list[str]:
        """Attributes of a service to write in several places."""
        schema = resolve(SCHEMA["properties"]["services"]["patternProperties"]["^[a-zA-Z0-9._-]+$"])
        return self.random.sample(sorted(set(schema["properties"]) - {"image"}), count)

    def merged(self) -> Case:
        """The same attributes in two files, or in a service and the one that it extends, or in an included one."""
        case = Case("merged", env=self.environment())
        keys = self.keys(self.random.choice((1, 1, 2)))
        base, over = self.service(0, keys), self.service(0, keys, "")
        rest = "\n" + "\n".join(f"{section}: {{{text}}}" for section, text in SECTIONS.items()) + "\n"
        form = self.random.choice(("override", "override", "extends", "file", "include", "anchor", "three"))
        files = {**FILES}
        if form in ("override", "three"):
            files["compose.yaml"] = f"services: {{a: {base}, {OTHERS}}}{rest}"
            files["compose.override.yaml"] = f"services: {{a: {over}}}\n"
            if form == "three":
                files["sub/o.yaml"] = f"services: {{a: {self.service(0, keys, '')}}}\n"
                case.args += ["-f", "compose.yaml", "-f", "compose.override.yaml", "-f", "sub/o.yaml"]
        elif form == "include":
            files["inc/compose.yaml"] = f"services: {{a: {base}, {OTHERS}}}{rest}"
            files["compose.yaml"] = f"include: [inc/compose.yaml]\nservices: {{a: {over}}}\n"
        elif form == "anchor":
            files["compose.yaml"] = (
                f"x-base: &base {base}\nservices:\n  a:\n    <<: *base\n"
                + "".join(f"    {pair}\n" for pair in self._pairs(keys)) + f"  b: {{image: b, build: .}}\n"
                f"  p: {{image: p, profiles: [p1]}}{rest}")  # fmt: skip
        else:
            where = "sub/base2.yaml" if form == "file" else "compose.yaml"
            how = f"{{file: {where}, service: z}}" if form == "file" else "{service: z}"
            other = "" if form == "file" else f", z: {base}"
            files["compose.yaml"] = f"services: {{a: {over[:-1]}, extends: {how}}}, {OTHERS}{other}}}{rest}"
            if form == "file":
                files["sub/base2.yaml"] = f"services: {{z: {base}}}\n"
        case.files = {name: text.replace("{,", "{") for name, text in files.items()}
        case.args.append("config")
        if self.random.random() < 0.15:
            flags = ("no-interpolate", "no-normalize", "no-path-resolution", "no-env-resolution", "no-consistency")
            case.args.append(f"--{self.random.choice(flags)}")
        return case

    def _pairs(self, keys: list[str]) -> list[str]:
        schema = resolve(SCHEMA["properties"]["services"]["patternProperties"]["^[a-zA-Z0-9._-]+$"])["properties"]
        return [f"{key}: {self.value(key, schema[key])}" for key in keys]

    def document(self, services: str, chance: float = 0.1) -> str:
        lines = [f"services: {{{services}}}"]
        for section, given in SECTIONS.items():
            text = given
            if self.random.random() < chance and section != "models":
                below = resolve(next(iter(resolve(SCHEMA["properties"][section])["patternProperties"].values())))
                name = given.partition(":")[0]
                text = f"{name}: {self.mapping(below, 1) if self.random.random() < 0.8 else self.odd()}"
            lines.append(f"{section}: {{{text}}}")
        if self.random.random() < chance:
            lines.append(f"name: {self.random.choice(WORDS['name'])}")
        if self.random.random() < chance:
            lines.append(f"include: {self.random.choice(WORDS['include'])}")
        if self.random.random() < chance / 2:
            lines.append(f"x-y: {self.odd()}")
        self.random.shuffle(lines)
        return "\n".join(lines) + "\n"

    def environment(self) -> dict[str, str]:
        return {"A": "shell", "N": "3", "T": "true", "E": ""}

    def attribute(self) -> Case:
        """One or two attributes of one service, or of a section."""
        case = Case("attribute", env=self.environment())
        count = self.random.choice((1, 1, 1, 2))
        case.files = {**FILES, "compose.yaml": self.document(f"a: {self.service(count)}, {OTHERS}", 0.05)}
        return case

    def project(self) -> Case:
        """Several files and flags."""
        case = Case("project", env=self.environment())
        case.files = {**FILES, "compose.yaml": self.document(f"a: {self.service(3)}, {OTHERS}")}
        over = f"a: {self.service(3)}"
        if self.random.random() < 0.3:
            over += f", b: {self.service(1)}"
        text = self.document(over, 0.2) if self.random.random() < 0.5 else f"services: {{{over}}}\n"
        if self.random.random() < 0.6:
            case.files["compose.override.yaml"] = text
        else:
            case.files["sub/o.yaml"] = text
            case.args += ["-f", "compose.yaml", "-f", "sub/o.yaml"]
        if self.random.random() < 0.4:
            case.files[".env"] = self.random.choice(DOTENV)
        for flag, chance in FLAGS.items():
            if self.random.random() < chance:
                case.args += flag.split()
        case.args.append("config")
        flags = ("no-interpolate", "no-normalize", "no-path-resolution", "no-env-resolution", "no-consistency")
        if self.random.random() < 0.4:
            case.args.append(f"--{self.random.choice(flags)}")
        if self.random.random() < 0.15:
            case.args.append(self.random.choice("abpi"))
        return case


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema behind a `$ref`."""
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    return schema


def schema_type(schema: dict[str, Any]) -> object:
    return resolve(schema).get("type")
