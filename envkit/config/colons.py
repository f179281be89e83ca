"""A colon inside a plain scalar of a flow collection: `[--bind=0.0.0.0:8000]`.

YAML 1.2 (7.3.3) and go-yaml take it as text when no space follows; the libyaml in ruamel.yaml.clib is older and refuses
it. So such colons are put out of its sight, each replaced by one character (columns stay true), and put back in what
it reads. One before `,`, `]` or `}` ends a key without a value: it is followed by a space where it was refused. Only
texts that were refused come here.
"""

from __future__ import annotations

from envkit.lean import pattern

REFUSAL = "found unexpected ':'"
_INSIDE = pattern(r"(?<=[^\"'\]}]):(?=[^\s\[\]{},])")


def hide(data: bytes | str) -> tuple[str, str] | None:
    """The text with its inner colons replaced, and what stands for them; None when that cannot be done."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError:
        return None
    for code in range(0xE000, 0xE100):
        if chr(code) not in text:
            return _INSIDE.sub(chr(code), text), chr(code)
    return None


def part(text: str, line: int, column: int) -> str:
    """The text with a space behind the colon at a place (counted from 1); "" when there is no key that it ends."""
    lines = text.split("\n")
    here = lines[line - 1] if line <= len(lines) else ""
    if here[column - 1 : column] != ":" or here[column : column + 1] not in (",", "]", "}"):
        return ""
    lines[line - 1] = f"{here[:column]} {here[column:]}"
    return "\n".join(lines)
