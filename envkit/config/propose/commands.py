"""What the command of a RUN does, as layers of an image: apt, pip, npm, user; whatever else stays a command.

A line is taken apart only where that is safe: plain commands joined by `&&`.
"""

from __future__ import annotations

import re
import shlex

from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Layer = dict[str, Any]

_SHELL = re.compile(r"[|;<>`$(){}*?~#\n]|(?<!&)&(?!&)")
_TIDY = (
    ("rm", "-rf"), ("rm", "-r"), ("rm", "-fr"), ("apt-get", "clean"), ("apt-get", "autoclean"), ("apt", "clean"),
    ("apt-get", "autoremove"), ("apt-get", "update"), ("apt", "update"), ("npm", "cache"), ("pip", "cache"),
)  # fmt: skip
_LISTS = re.compile(r"/var/lib/apt/lists(?:/\*)?|/var/cache/apt(?:/.*)?|/tmp/x|/root/\.(?:cache|npm)|/var/tmp/\*")


@value
class Surroundings:
    """What a command finds: the directory it runs in, which file of the project lies at a path of the image ("" for
    none), whether a project's directory has a package-lock.json."""

    workdir: str
    origin: Callable[[str], str]
    locked: Callable[[str], str]


def layers_of(text: str, around: Surroundings) -> list[Layer] | None:
    """The layers that a shell's line stands for; None where it is best run as it is."""
    plain = text.replace("/var/lib/apt/lists/*", "/var/lib/apt/lists").replace("/tmp/*", "/tmp/x")
    plain = plain.replace("/var/tmp/*", "/tmp/x")
    if _SHELL.search(plain):
        return None
    made: list[Layer] = []
    for part in plain.split("&&"):
        try:
            words = shlex.split(part)
        except ValueError:
            return None
        found = _command(words, around)
        if found is None:
            return None
        made += found
    return made


def _command(words: Sequence[str], around: Surroundings) -> list[Layer] | None:
    if not words:
        return None
    program = words[0].rpartition("/")[2]
    if (program, *words[1:2]) in _TIDY:
        return [] if program != "rm" or all(map(_LISTS.fullmatch, words[2:])) else None
    if program in ("apt-get", "apt"):
        return _apt(words[1:])
    if program in ("pip", "pip3"):
        return _pip(words[1:], around)
    if program in ("python", "python3") and list(words[1:3]) == ["-m", "pip"]:
        return _pip(words[3:], around)
    if program == "npm":
        return _npm(words[1:], around)
    if program in ("useradd", "adduser"):
        return _user(program, words[1:])
    return None


def _apt(words: Sequence[str]) -> list[Layer] | None:
    flags = [each for each in words if each.startswith("-")]
    rest = [each for each in words if not each.startswith("-")]
    known = {"-y", "--yes", "-q", "-qq", "-yq", "-qy", "-yqq", "-qqy", "--no-install-recommends", "--assume-yes"}
    if not rest or rest[0] != "install" or not rest[1:] or set(flags) - known:
        return None
    recommends = "--no-install-recommends" not in flags
    return [{"apt": sorted(set(rest[1:])), **({"recommends": True} if recommends else {})}]


def _pip(words: Sequence[str], around: Surroundings) -> list[Layer] | None:
    if not words or words[0] != "install":
        return None
    packages: list[str] = []
    requirements = ""
    todo = list(words[1:])
    while todo:
        word = todo.pop(0)
        if word in ("-r", "--requirement") and todo and not requirements:
            requirements = around.origin(_absolute(todo.pop(0), around.workdir))
            if not requirements:
                return None
        elif word in ("--no-cache-dir", "--upgrade", "-U", "-q", "--quiet", "--break-system-packages",
                      "--disable-pip-version-check", "--no-warn-script-location"):  # fmt: skip
            continue
        elif word.startswith(("-", ".", "/", "git+")) or "://" in word:
            return None
        else:
            packages.append(word)
    if set(packages) <= {"pip", "setuptools", "wheel"} and not requirements:
        return [] if packages else None  # the base's are new enough
    return [{"pip": packages, **({"requirements": f"./{requirements}"} if requirements else {})}]


def _npm(words: Sequence[str], around: Surroundings) -> list[Layer] | None:
    if not words:
        return None
    flags = [each for each in words[1:] if each.startswith("-")]
    packages = [each for each in words[1:] if not each.startswith("-")]
    quiet = {"--no-audit", "--no-fund", "--quiet", "--silent", "--prefer-offline"}
    if words[0] in ("install", "i") and packages and {"-g", "--global"} & set(flags):
        return [{"npm": packages}] if not set(flags) - quiet - {"-g", "--global"} else None
    production = {"--omit=dev", "--production", "--only=production", "--only=prod", "--production=true"}
    if words[0] != "ci" or packages or set(flags) - quiet - production:
        return None
    context = around.locked(around.workdir)
    if not context:
        return None
    layer: Layer = {"npm": f"./{context}" if context != "." else ".", "to": around.workdir}
    return [layer if production & set(flags) else {**layer, "dev": True}]


def _user(program: str, words: Sequence[str]) -> list[Layer] | None:  # noqa: PLR0912 a flag each
    made: Layer = {}
    names: list[str] = []
    home, todo = program == "adduser", list(words)
    while todo:
        word, equals, given = todo.pop(0).partition("=")

        def following(equals: str = equals, given: str = given) -> str:
            return given if equals else todo.pop(0) if todo else ""

        if word in ("-u", "--uid"):
            made["uid"] = following()
        elif word in ("-d", "--home", "--home-dir"):
            made["home"] = following()
        elif word in ("-s", "--shell"):
            made["shell"] = following()
        elif word in ("-m", "--create-home"):
            home = True
        elif word in ("-M", "--no-create-home"):
            home = False
        elif word in ("-c", "--comment", "--gecos"):
            following()
        elif word in ("-r", "--system", "-U", "--user-group", "--disabled-password", "--disabled-login"):
            continue
        elif word.startswith("-"):
            return None
        else:
            names.append(word)
    if len(names) != 1 or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", names[0]):
        return None
    if "uid" in made:
        if not made["uid"].isdigit():
            return None
        made["uid"] = int(made["uid"])
    if home:
        made.setdefault("home", f"/home/{names[0]}")
    else:
        made.pop("home", None)
    return [{"user": {"name": names[0], **made}}] if made else [{"user": names[0]}]


def _absolute(path: str, workdir: str) -> str:
    import posixpath

    return posixpath.normpath(posixpath.join(workdir, path))
