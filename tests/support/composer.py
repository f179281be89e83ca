"""Compose projects made at random from the schema: what the differential tests ask envkit and Compose about.

A project is a `judge.Case`: files, arguments, variables. One seed is one project. `attribute` writes one attribute in
every odd way; `project` puts files, overrides, `extends`, `include`, profiles, env files and flags together.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.support.judge import Case

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "compose.schema.json").read_text(encoding="utf-8"))
ODD = (
    "010", "0o17", "0x1F", "1_000", "1e3", "1.0", "1.50", "-1", "+5", ".5", "0", "00", "1:30", "22:22", "9999999999",
    "null", "~", "Null", "true", "True", "FALSE", "yes", "No", "on", "y", '""', "''", '" "', '"10"', "'1.0'", '"true"',
    "'yes'", '"0o17"', "2024-01-01", "2024-01-01T10:00:00Z", ".inf", "-.INF", ".nan", "[]", "{}", "[x]", "{a: b}", "[1]",
    "[null]", "{a: 1}", "{a: null}", "!!str 5", "!!int \"7\"", "!!float 3", "!!null x", "!reset null", "!override x",
    "!custom x", "'${A}'", '"${B:-7}"', '"${B-}"', '"${C:?no}"', '"${A:+alt}"', '"$$A"', '"$A-${A}"', '"${BAD"', '"${E}"',
    '"${N}"', '"${T}"', '"a$"', '"${A:-${N:-z}}"', '"é"', '"a b"', '"a=b"', '"a:b"', '"/a"', '"a#b"', "a#b", '"x\\ty"',
)  # fmt: skip
WORDS: dict[str, tuple[str, ...]] = {
    "ports": (
        "80", "'80'", "8080:80", "'8080:80'", '"127.0.0.1:80:80/udp"', '"[::1]:1:2"', '"9-11:9-11"', '"9-11:5"', '":5"',
        '"0:5"', '"::1:1:2"', "22:22", '"80/tcp"', '"80/sctp"', '"x"', '"9-11"', '"1:2:3:4"', '"65536:1"', '"-1:5"',
        '"127.0.0.1::5"', '"5:9-11"', '"0-0:80"', '"80:80/TCP"', '"80:80/x"', '" 80:80"', '"1.2.3:1:1"', '"host:1:1"',
        "{target: 80}", "{target: '80', published: 8080}", "{target: 80, published: '1-3', protocol: udp, mode: host}",
        "{target: 9, host_ip: ::1, name: n, app_protocol: http}", "{published: 5}", "{target: 1, published: 0}",
    ),
    "volumes": (
        '"/a"', '"v:/a"', '"./b:/b"', '"~/b:/b:ro"', '"../b:/b:z"', '"v:/a:nocopy,ro"', '"/x:/y:rshared,rw"', '"a"',
        '"C:/x:/y"', '"v:/a/../b"', '"v:rel"', '"n:/e"', '".:/app:cached"', '"v:/a:weird"', '"/a:/b:Z,U"', '"x:/a:ro:rw"',
        '"v:/a:volume-nocopy"', '"v:/a/"', '"${A}:/z"', '"./a b:/c"', '":/x"', '"v:"', '"/a:/b:rbind"', '"~:/home"',
        "{type: volume, source: v, target: /t, volume: {nocopy: true, subpath: s, labels: [a=b]}}",
        "{type: bind, source: ., target: /t}", "{type: bind, source: ./q, target: /t, bind: {create_host_path: false}}",
        "{type: bind, source: q, target: t, bind: {propagation: rslave, selinux: z, recursive: disabled}}",
        "{type: tmpfs, target: /t, tmpfs: {size: 10m, mode: 01777}}", "{type: tmpfs, target: /t, tmpfs: {size: 100, mode: '1777'}}",
        "{type: image, source: i, target: /t, image: {subpath: s}}", "{type: npipe, source: x, target: y}",
        "{type: cluster, source: x, target: y}", "{type: volume, target: /t, read_only: yes, consistency: cached}",
        "{type: volume, source: ./x, target: /t}", "{type: bind, source: ~/x, target: /t/}", "{target: /t}", "{type: bind, target: /t}",
    ),
    "environment": (
        "[A]", "[A=1, A=2]", "{A: null}", "{A: 1.0, B: 010, C: true}", "[A, X=y, '=z']", "{A: 2024-01-01}", "{'a b': c}",
        '["A=$A", "B=$$A"]', "{A: ~, B: ''}", "[1, 2.0]", "{1: 2}", "[A=]", "{A: [x]}", "{A: {b: c}}", "[\"A = b\"]",
    ),
    "labels": ("[a]", "[a=b=c]", "{a: null}", "{a.b: 1}", "{a: 1.5, c: true}", "[a=1, a=2]", "{a: }", "{a: [b]}", "[]"),
    "command": (
        "echo hi", "'a \"b c\" d'", "\"a 'b c\"", "[]", "''", "null", "[a, 1, true]", "'a\\ b'", "[null]", "'$A \"$A\"'",
        "'a # b'", "\"a \\\\\\n b\"", "'a && b | c > d'", "[[a]]", "\"a\\tb\"", "'\"\"'", "\"a `b` $(c)\"", "'~ *.x'",
    ),
    "test": ("[CMD, true]", "[CMD-SHELL, x]", "NONE", "[NONE]", "x y", "[]", "[x]", "''", "null", "[CMD]", "[cmd, x]", "[NONE, x]"),
    "extra_hosts": (
        '["a:1.2.3.4"]', '["a=1.2.3.4", "a=5.6.7.8"]', '["a:::1"]', '["a=[::1]"]', '{a: 1.2.3.4}', '{a: [1.1.1.1, "::1"]}',
        '["h:host-gateway"]', '["a"]', '{a: ""}', '["a:1.1.1.1,2.2.2.2"]', '{a: null}', '[":1.1.1.1"]', '["a:[::1]"]',
        '["a=x:y"]', '["a b:1.1.1.1"]', '{"a:b": x}', '["a="]', '["a:"]',
    ),
    "depends_on": (
        "[b]", "{b: {condition: service_healthy}}", "{b: {condition: service_started, restart: true, required: false}}",
        "[c]", "{c: {condition: service_started, required: false}}", "{b: null}", "{b: {}}", "[b, b]", "[p]", "[a]",
        "{p: {condition: service_started, required: false}}", "{b: {condition: x}}", "{b: {restart: true}}",
    ),
    "networks": (
        "[n]", "[n, default]", "{n: null}", "{n: {aliases: [x, x]}}", "{n: {ipv4_address: 1.2.3.4, priority: 5}}", "[q]", "[]",
        "{}", "{n: {gw_priority: '3', mac_address: x, driver_opts: {a: 1}, link_local_ips: [1.1.1.1]}}", "{default: {}}",
        "{n: {ipv6_address: '::1', interface_name: e}}", "[n, n]", "null", "{n: {priority: 1.5}}",
    ),
    "secrets": (
        "[s]", "[{source: s}]", "[{source: s, target: /x, uid: 1, gid: '2', mode: 0400}]", "[q]", "[s, s]", "[{source: s, mode: '0440'}]",
        "[{source: s, mode: 288}]", "[{source: s, mode: 0o440}]", "[{target: x}]", "[{source: s, target: a}, {source: s, target: a}]",
    ),
    "configs": (
        "[g]", "[{source: g}]", "[{source: g, target: x, mode: 0444}]", "[q]", "[g, {source: g, target: /g}]", "[{source: g, mode: '444'}]",
        "[{source: g, uid: '1000', gid: 5}]",
    ),
    "ulimits": ("{nofile: 5}", "{nofile: {soft: 1, hard: 2}}", "{nofile: {soft: 1}}", "{a: '5'}", "{a: -1}", "{a: {soft: -1, hard: -1}}", "{a: 0}", "{A_b: 1}", "{a: null}"),
    "env_file": (
        "one.env", "[one.env, two.env]", "{path: one.env}", "[{path: one.env, required: false}]", "[{path: none.env, required: false}]",
        "none.env", "[{path: one.env, format: raw}]", "[{path: one.env, format: x}]", "[./sub/../one.env]", "[]", "''", "[{path: one.env, required: no}]",
    ),
    "label_file": ("one.env", "[one.env, two.env]", "none.env", "[]", "[one.env, one.env]"),
    "build": (
        ".", "./sub", "{}", "{context: .}", "{context: ., dockerfile: D}", "{dockerfile_inline: FROM x}", "null",
        "{context: https://github.com/a/b.git#c:d}", "{context: 'git@github.com:a/b.git'}", "{context: ./sub, dockerfile: /abs}", "''",
        "{context: ~/x}", "{context: ., dockerfile: ../D, target: t}", "{context: 'docker-image://x'}", "{context: 'oci-layout:///x'}",
    ),
    "additional_contexts": ("{a: ./x}", "[a=./x]", "{a: 'docker-image://x'}", "{a: 'service:b'}", "{a: https://x/y.git}", "{a: ~/x}", "[a]", "{a: null}", "{a: 'target:x'}"),
    "args": ("[A]", "[A, Q]", "{A: null, Q: null}", "{A: 1}", "[A=1]", "{A: true}", "['A=']", "{A: 1.0}"),
    "ssh": ("[default]", "default", "['k=./x']", "{k: ./x}", "['k']", "{default: null}", "[]", "['default=~/x']"),
    "extends": ("b", "{service: b}", "{file: base.yaml, service: x}", "{file: base.yaml, service: y}", "{service: q}", "{file: none.yaml, service: x}", "a", "{file: sub/more.yaml, service: m}", "{file: ./base.yaml}"),
    "memory": ("10m", "1G", "1gb", "'1.5g'", "100", "'0'", "10kib", "'10 MB'", "-1", "1t", "1P", "1Gi", "10b", "1e3"),
    "duration": ("10s", "1m30s", "1h", "'1.5s'", "500ms", "10", "'10'", "1d", "2w", "1m 30s", "-5s", "0", "0s", "1us", "'1h1'", "100ns", "P1D", "24h", "1.5h"),
    "pull_policy": ("always", "never", "missing", "if_not_present", "build", "daily", "weekly", "every_12h", "every_3d", "refresh", "every_x", "x", "every_1w2d"),
    "network_mode": ("host", "none", "bridge", "'service:b'", "'container:x'", "'service:q'", "x", "''", "'service:a'", "'service:'"),
    "links": ("[b]", "['b:x']", "[q]", "[b, b]", "[p]", "['b:x:y']", "[a]"),
    "volumes_from": ("[b]", "['b:ro']", "['container:x']", "['container:x:ro']", "[q]", "['b:x']", "[a]"),
    "restart": ("always", "no", "'no'", "on-failure", "'on-failure:3'", "unless-stopped", "x", "'on-failure:x'", "false"),
    "devices": ("[/dev/a]", "['/dev/a:/dev/b']", "['/dev/a:/dev/b:rwm']", "[{source: a, target: b, permissions: r}]", "['a:b:c:d']", "['vendor.com/x=y']", "[{source: a}]", "['/dev/a:rw']", "['/a', '/a:/a']"),
    "tmpfs": ("/a", "[/a, /a]", "['/a:size=1m']", "[]", "''", "[/a, '/a:ro']"),
    "expose": ("[80]", "['80']", "['80-90']", "[80/udp]", "[x]", "[1, '1']", "[80.5]"),
    "dns": ("1.1.1.1", "[1.1.1.1, 1.1.1.1]", "[]", "''", "[x]"),
    "sysctls": ("{a: 1}", "[a=1]", "{a: null}", "[a]", "{a: true}", "{a.b: '1 2'}", "{a: 1.5}", "{a: 0x10}"),
    "count": ("1", "all", "-1", "'2'", "'all'", "x", "0", "ALL"),
    "gpus": ("all", "[{count: 1}]", "[{driver: nvidia, count: all, device_ids: [a]}]", "[{capabilities: [gpu]}]", "x", "[{device_ids: ['0']}]", "[]", "[{options: {a: 1}}]"),
    "watch": ("[{path: ., action: sync, target: /x}]", "[{path: ./s, action: rebuild}]", "[{path: s, action: sync+restart, target: x, ignore: [a], include: '*.py'}]", "[{path: a, action: x}]", "[{action: sync, path: .}]", "[{path: ., action: sync+exec, target: /x, exec: {command: a b}}]"),
    "blkio_config": ("{weight: 10}", "{weight_device: [{path: /a, weight: 5}]}", "{device_read_bps: [{path: /a, rate: 1m}]}", "{device_write_iops: [{path: /a, rate: '30'}]}", "{weight: '10'}", "{device_read_bps: [{path: /a}]}"),
    "mac_address": ("02:42:ac:11:65:43", "x", "'${A}'"),
    "logging": ("{driver: local}", "{driver: x, options: {a: 1, b: null}}", "{options: {max-size: 10m}}", "{}", "{driver: none, options: {}}"),
    "credential_spec": ("{file: x}", "{config: g}", "{registry: r}", "{config: q}", "{file: ./x, registry: y}"),
    "models": ("[m]", "{m: {endpoint_var: A, model_var: B}}", "[q]", "{m: null}"),
    "provider": ("{type: x}", "{type: x, options: {a: b, c: [d, e], f: 1}}", "{}", "{options: {a: 1}}"),
    "post_start": ("[{command: a b}]", "[{command: [a], user: x, privileged: yes, environment: [A=1], working_dir: /x}]", "[]", "[{user: x}]", "[{command: x, environment: {A: null}}]"),
    "pre_stop": ("[{command: a b}]", "[{command: [a], privileged: true}]"),
    "pre_start": ("[{command: a}]", "[{image: x, command: [a], volumes: ['v:/x'], per_replica: true}]", "[{environment: [A]}]", "[{networks: [n]}]", "[{ports: ['1:1']}]"),
    "profiles": ("[p1]", "[p1, p2]", "[]", "[p1, p1]", "['_x']", "['a b']", "p1", "['']"),
    "container_name": ("x", "ab", "a_b", "'-x'", "'a b'", "'${A}'", "5"),
    "platform": ("linux/amd64", "linux", "x", "linux/arm64/v8"),
    "image": ("x", "x:y", "'x@sha256:abc'", "5", "'${A}'", "X", "'a b'", "''", "null", "1.0", "x:1.10"),
    "name": ("x", "X", "'a b'", "'${A}'", "_x", "x-y", "5", "''", "-x", "a.b"),
    "file": ("./x", "~/x", "/x", "one.env", "''"), "external": ("true", "yes", "'true'", "false", "{name: z}", "{}", "'${T}'"),
    "driver_opts": ("{a: 1}", "{type: none, o: bind, device: ./x}", "{a: null}", "{a: true}", "{device: ~/x, o: bind}"),
    "ipam": ("{driver: d, config: [{subnet: 10.0.0.0/8, gateway: 10.0.0.1}]}", "{config: [{ip_range: x, aux_addresses: {a: b}}]}", "{options: {a: b}}", "{config: []}", "{}", "null"),
    "storage_opt": ("{size: 1G}", "{size: 1}", "[size=1]"),
    "cap_add": ("[ALL]", "[a, a]", "[]", "ALL"), "security_opt": ("['seccomp:x.json']", "['label:disable']", "[a, a]", "['no-new-privileges:true']"),
    "include": ("[inc/compose.yaml]", "[{path: inc/compose.yaml, env_file: two.env}]", "[{path: [inc/compose.yaml, inc/over.yaml]}]", "[{path: inc/compose.yaml, project_directory: .}]", "inc/compose.yaml", "[none.yaml]", "[{path: inc/compose.yaml, env_file: [one.env, two.env], project_directory: sub}]", "[{path: inc/compose.yaml, env_file: []}]", "[inc/compose.yaml, inc/compose.yaml]"),
    "template_driver": ("x",), "content": ("x", "\"a\\nb $A\"", "'${A}'", "5", "''"), "environment_name": ("A", "Q"),
}  # fmt: skip
LIKE = {
    "entrypoint": "command", "annotations": "labels", "mem_limit": "memory", "mem_reservation": "memory", "memswap_limit": "memory",
    "shm_size": "memory", "size": "memory", "rate": "memory", "stop_grace_period": "duration", "interval": "duration",
    "timeout": "duration", "start_period": "duration", "start_interval": "duration", "delay": "duration", "monitor": "duration",
    "window": "duration", "pid": "network_mode", "ipc": "network_mode", "uts": "network_mode", "cgroup": "network_mode",
    "dns_search": "dns", "dns_opt": "dns", "cap_drop": "cap_add", "external_links": "links", "group_add": "cap_add",
    "options": "driver_opts", "dockerfile": "file", "context": "file", "path": "file", "no_cache_filter": "cap_add", "tags": "cap_add",
    "aux_addresses": "labels", "userns_mode": "network_mode", "source": "file", "target": "file",
}  # fmt: skip
FILES = {
    "one.env": "A=one\nQ='q q'\nexport R=\"r $A\"\n# c\nS = s # t\nEMPTY=\nA.B=dot\n",
    "two.env": "A=two\nZ=${A}-${Q:-dflt}\nM=\"multi\nline\"\nT: yaml\n",
    "base.yaml": (
        "services:\n  x: {image: bx, environment: [A=base, BB], volumes: ['./data:/d', 'v:/v'], ports: ['1:1'],\n"
        "    labels: {l: base}, depends_on: [b], networks: {n: {aliases: [base]}}, command: [base], build: {context: ./bx, args: {A: 1}},\n"
        "    env_file: ./base.env, dns: 9.9.9.9, logging: {driver: json-file, options: {a: b}}, healthcheck: {test: x, retries: 3}, ulimits: {nofile: 9}}\n"
        "  y: {extends: {service: x}, image: by}\n"
    ),
    "base.env": "FROM_BASE=1\n", "sub/more.yaml": "services: {m: {image: m, volumes: ['./r:/r'], build: {context: ., dockerfile: D}, extends: {file: ../base.yaml, service: y}}}\n",
    "inc/compose.yaml": (
        "services: {i: {image: 'i:${A}-${INC:-none}', volumes: ['./d:/d', 'iv:/v'], env_file: [e.env], networks: [n], secrets: [is]}}\n"
        "volumes: {iv: {}}\nnetworks: {n: {}}\nsecrets: {is: {file: ./s}}\n"
    ),
    "inc/over.yaml": "services: {i: {labels: [over=1], command: over}}\n", "inc/.env": "INC=included\nA=inner\n", "inc/e.env": "IE=${A}\n", "sub/k": "",
}  # fmt: skip
SECTIONS = {
    "volumes": "v: {}", "networks": "n: {}", "secrets": "s: {file: ./s}", "configs": "g: {content: c}", "models": "m: {model: x}",
}  # fmt: skip
OTHERS = "b: {image: b, build: .}, p: {image: p, profiles: [p1]}"


class Composer:
    """One project at a time. random: the only source of choices."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.anchors = 0

    def odd(self) -> str:
        return self.random.choice(ODD)

    def value(self, name: str, schema: dict[str, Any], depth: int = 0) -> str:
        """A value for the key name as flow YAML: mostly one that fits, now and then any other."""
        if self.random.random() < (0.3 if depth == 0 else 0.12):
            return self.odd()
        words = WORDS.get(LIKE.get(name, name))
        if words and self.random.random() < 0.75:
            word = self.random.choice(words)
            return f"[{word}]" if name in ("ports", "volumes") and word[:1] != "[" and schema_type(schema) == "array" else word
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
            items = [self.value(f"{name}[]", schema.get("items", {}), depth + 1) for _ in range(self.random.choice((0, 1, 1, 2, 3)))]
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

    def service(self, count: int) -> str:
        schema = resolve(SCHEMA["properties"]["services"]["patternProperties"]["^[a-zA-Z0-9._-]+$"])
        known = {**schema["properties"], "extends": {"type": "string"}}
        pairs = {} if self.random.random() < 0.1 else {"image": "i"}
        for key in self.random.sample(sorted(known), count):
            pairs[key] = self.value(key, known[key])
        return "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"

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
            case.files[".env"] = self.random.choice(("A=dot\nB=dotb\n", "B='q'\nCOMPOSE_PROFILES=p1\n", "COMPOSE_PROJECT_NAME=envname\n", "B=\"$A\"\nC=${B}\n"))
        for flag, chance in (("--profile p1", 0.2), ("--profile *", 0.05), ("--env-file two.env", 0.1), ("-p other", 0.1), ("--project-directory sub", 0.07)):
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
