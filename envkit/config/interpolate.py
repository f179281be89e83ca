"""Phase: variables in values are replaced, and the results cast to the type their place wants.

Works on parsed values, never on keys or text (Compose Specification, 12-interpolation.md). Strings in a place for
numbers or booleans are cast whether or not they held a variable; `yes`, `on` and the like are accepted for booleans.
"""

from __future__ import annotations

from collections.abc import Callable

from envkit.config.dotenv import Environ
from envkit.config.rules import Rules
from envkit.config.template import MissingVariable, TemplateError, substitute
from envkit.config.tree import Map, Origin, Seq
from envkit.diagnostics import Diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Cast = Callable[[str], "Any"]
_TRUE, _FALSE = ("true", "y", "yes", "on"), ("false", "n", "no", "off")


def to_bool(text: str) -> bool:
    """YAML 1.1's booleans. Raises ValueError."""
    lower = text.lower()
    if lower in _TRUE:
        return True
    if lower in _FALSE:
        return False
    raise ValueError(f"{text!r} is not a boolean; write true or false")


def to_int(text: str) -> int:
    """A decimal integer. Raises ValueError."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def to_number(text: str) -> float:
    """A number that is finite. Raises ValueError."""
    try:
        value = float.fromhex(text) if text[:2].lower() == "0x" else float(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a number") from None
    if value - value != 0 or text != text.strip():
        raise ValueError(f"{text!r} is not a number")
    return value


def to_mode(text: str) -> int:
    """An octal integer: `0440` and `440`. Raises ValueError."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or not digits.isascii() or digits.strip("01234567"):
        raise ValueError(f"{text!r} is not octal, such as 0440")
    return int(text, 8)


_SERVICE: dict[str, Cast] = {
    "cpu_count": to_int, "cpu_percent": to_number, "cpu_period": to_int,
    "cpu_quota": to_int, "cpu_rt_period": to_int, "cpu_rt_runtime": to_int, "cpus": to_number, "cpu_shares": to_int,
    "init": to_bool, "deploy.replicas": to_int, "deploy.update_config.parallelism": to_int,
    "deploy.update_config.max_failure_ratio": to_number, "deploy.rollback_config.parallelism": to_int,
    "deploy.rollback_config.max_failure_ratio": to_number, "deploy.restart_policy.max_attempts": to_int,
    "deploy.placement.max_replicas_per_node": to_int, "healthcheck.retries": to_int, "healthcheck.disable": to_bool,
    "oom_kill_disable": to_bool, "oom_score_adj": to_int, "pids_limit": to_int, "ports.*.target": to_int,
    "privileged": to_bool, "read_only": to_bool, "scale": to_int, "stdin_open": to_bool,
    "tty": to_bool, "ulimits.*": to_int, "ulimits.*.hard": to_int, "ulimits.*.soft": to_int,
    "volumes.*.read_only": to_bool, "volumes.*.volume.nocopy": to_bool,
}  # fmt: skip

CASTS: Rules = Rules.of(
    {f"services.*.{path}": cast for path, cast in _SERVICE.items()}
    | {f"services.*.pre_start.*.{path}": cast for path, cast in _SERVICE.items()}
    | {f"networks.*.{key}": to_bool for key in ("external", "internal", "attachable", "enable_ipv4", "enable_ipv6")}
    | {f"{kind}.*.external": to_bool for kind in ("volumes", "secrets", "configs")}
)


class Interpolator:
    """Replaces the variables of whole trees; problems and warnings go to one list, a warning once per variable."""

    def __init__(self, environ: Environ, problems: Diagnostics) -> None:
        self.environ = environ
        self.problems = problems
        self.lookup = environ.values.get
        self.warned: set[str] = set()

    def tree(self, value: Any) -> None:
        """Interpolate a document in place."""
        self._below(value, CASTS, "")

    def _below(self, value: Any, casts: Rules | None, path: str) -> None:
        if isinstance(value, Map):
            for key, item in value.items():
                node = casts.at(key) if casts is not None else None
                if isinstance(item, str):
                    if "$" in item or (node is not None and node.rule is not None):
                        below = f"{path}.{key}" if path else key
                        value[key], value.at[key] = self._text(item, node, below, value.at[key])
                elif isinstance(item, (dict, list)):
                    self._below(item, node, f"{path}.{key}" if path else key)
        elif isinstance(value, Seq):
            node = casts.at("*") if casts is not None else None
            for index, item in enumerate(value):
                if isinstance(item, str):
                    if "$" in item or (node is not None and node.rule is not None):
                        origin = value.at[index]
                        assert origin is not None
                        value[index], value.at[index] = self._text(item, node, f"{path}[{index}]", origin)
                elif isinstance(item, (dict, list)):
                    self._below(item, node, f"{path}[{index}]")

    def _text(self, text: str, node: Rules | None, path: str, origin: Origin) -> tuple[Any, Origin]:
        result = self.text(text, path, origin)
        if result is None:
            return text, origin
        value, names = result
        made: Any = value
        if node is not None and node.rule is not None:
            try:
                made = node.rule(value)
            except ValueError as error:
                self.problems.error("value-type", "The value has the wrong type", f"`{path}`: {error}", origin.position)
            else:
                if isinstance(made, bool) and value.lower() not in ("true", "false"):
                    self.problems.warning(
                        "boolean-word", "The boolean is not one of YAML 1.2",
                        f"`{path}`: {value!r} is read as {str(made).lower()}", origin.position,
                        f"write {str(made).lower()}")  # fmt: skip
        return made, origin.using(tuple(dict.fromkeys(names))) if names else origin

    def text(self, text: str, path: str, origin: Origin | None) -> tuple[str, list[str]] | None:
        """(text with its variables replaced, their names), or None after a problem."""
        used: list[str] = []
        unset: list[str] = []
        at = origin.position if origin else None
        try:
            result = substitute(text, self.lookup, used, unset)
        except TemplateError:
            self.problems.error(
                "interpolation", "The variable substitution is not valid", f"`{path}`: {text}", at,
                "write `$$` for a literal dollar sign")  # fmt: skip
            return None
        except MissingVariable as missing:
            detail = f"`{missing.name}`" + (f": {missing.reason}" if missing.reason else "")
            self.problems.error(
                "variable-required", "A required variable has no value", detail, at,
                f"set {missing.name} in the environment or in the .env file")  # fmt: skip
            return None
        for name in unset:
            if name not in self.warned:
                self.warned.add(name)
                self.problems.warning(
                    "variable-unset", "The variable is not set and becomes empty", f"`{name}` in `{path}`", at,
                    f"set it, or write ${{{name}:-default}}")  # fmt: skip
        return result, used
