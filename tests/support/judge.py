"""Cases of tests/cases/config/judged: a project in a few lines, the same question to envkit and to Compose.

    === name
    args: -f a.yaml --profile p     (optional; words without a dash after `config` are services)
    env: A=1 B=2                    (optional)
    cwd: sub                        (optional)
    --- file                        (without one, the text is compose.yaml)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envkit.config.load import load_model
from envkit.config.model import Model
from envkit.config.options import LoadOptions

CASES = Path(__file__).parents[1] / "cases" / "config" / "judged"
COMPOSE = Path(sys.executable).parent / "docker-compose"
SWITCHES = {
    "--no-interpolate": "no_interpolate", "--no-normalize": "no_normalize",
    "--no-path-resolution": "no_path_resolution", "--no-env-resolution": "no_env_resolution",
    "--no-consistency": "no_consistency",
}  # fmt: skip


@dataclass
class Case:
    name: str
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "."
    files: dict[str, str] = field(default_factory=dict)

    def write(self, root: Path) -> Path:
        """The project below root; the folder to work in."""
        for name, text in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return root / self.cwd

    def environ(self, cwd: Path) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "HOME": "/home/oracle", "PWD": str(cwd), **self.env}

    def options(self, cwd: Path) -> LoadOptions:
        many: dict[str, list[str]] = {"-f": [], "--profile": [], "--env-file": []}
        one = {"-p": "", "--project-directory": ""}
        switches = {}
        services = []
        words = iter(self.args)
        for word in words:
            if word in many:
                many[word].append(next(words))
            elif word in one:
                one[word] = next(words)
            elif word in SWITCHES:
                switches[SWITCHES[word]] = True
            elif word != "config":
                services.append(word)
        return LoadOptions(
            str(cwd), tuple(many["-f"]), one["-p"], tuple(many["--profile"]), tuple(many["--env-file"]),
            one["--project-directory"], tuple(services), self.environ(cwd), **switches,
        )  # fmt: skip

    def load(self, cwd: Path) -> Model:
        return load_model(self.options(cwd))

    def ask_compose(self, cwd: Path, *more: str) -> subprocess.CompletedProcess[str]:
        at = self.args.index("config") if "config" in self.args else len(self.args)
        head = [word for word in self.args[:at] if word not in SWITCHES]
        tail = [word for word in self.args[:at] if word in SWITCHES] + self.args[at + 1 :]
        argv = [str(COMPOSE), *head, "config", *(more or ("--format", "json")), *tail]
        return subprocess.run(
            argv, cwd=cwd, env=self.environ(cwd), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip


def read(path: Path) -> Iterator[Case]:
    """The cases of one file."""
    for block in re.split(r"(?m)^=== ", path.read_text(encoding="utf-8"))[1:]:
        name, _, body = block.partition("\n")
        case = Case(f"{path.stem}: {name.strip()}")
        while match := re.match(r"(args|env|cwd): (.*)\n", body):
            if match[1] == "args":
                case.args = match[2].split()
            elif match[1] == "env":
                case.env = dict(re.findall(r"(\S+?)=((?:[^ =]|=| (?!\S+?=))*)", match[2]))
            else:
                case.cwd = match[2]
            body = body[match.end() :]
        parts = re.split(r"(?m)^--- (\S+)\n", body)
        if parts[0].strip() or len(parts) == 1:
            case.files["compose.yaml"] = parts[0]
        case.files.update(dict(zip(parts[1::2], parts[2::2], strict=True)))
        yield case


def cases() -> list[Case]:
    return [case for path in sorted(CASES.glob("*.txt")) for case in read(path)]


def undouble(value: Any) -> Any:
    """Compose's answer with its `$$` read as `$`."""
    if isinstance(value, dict):
        return {undouble(key): undouble(item) for key, item in value.items()}
    if isinstance(value, list):
        return [undouble(item) for item in value]
    return value.replace("$$", "$") if isinstance(value, str) else value


def canonical(value: Any) -> str:
    """Text that is equal for equal JSON, and shows where it is not."""
    def even(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: even(item) for key, item in value.items()}
        if isinstance(value, list):
            return [even(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return json.dumps(even(value), indent=1, sort_keys=True, ensure_ascii=False)


def fresh(root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    return root
