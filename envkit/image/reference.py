"""Names of images: `busybox`, `busybox:1`, `registry.example:5000/team/app:v2@sha256:…`.

Grammar and short forms: distribution/reference (`reference.go`, `normalize.go`): no domain means docker.io, no path on
docker.io means library/, no tag and no digest means `latest`. The text form is always the full one.
"""

from __future__ import annotations

from typing import NamedTuple

from envkit.digest import is_digest
from envkit.errors import EnvkitError
from envkit.lean import pattern

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_MAXIMUM = 255  # of domain and path together (distribution: NameTotalLengthMax)

_COMPONENT = pattern(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = pattern(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER = pattern(r"[a-f0-9]{64}")


class InvalidReferenceError(EnvkitError):
    """A text is no image reference."""

    def __init__(self, text: str, why: str, hint: str = "") -> None:
        super().__init__("this is not an image reference", f"{text!r}: {why}", hint)


class Reference(NamedTuple):
    """A parsed, complete reference: at least one of tag and digest is set."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """`docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The short form that people write: `busybox:1`."""
        path = self.path
        if self.domain == DEFAULT_DOMAIN:
            path = path.removeprefix("library/") if path.count("/") == 1 else path
        else:
            path = self.name
        return path + self.suffix

    @property
    def suffix(self) -> str:
        """`:tag`, `@digest` or both."""
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self.suffix


def parse(text: str) -> Reference:
    """The reference that text means. Raises InvalidReferenceError."""
    if is_digest(text):
        raise InvalidReferenceError(text, "this is a digest", f"name the image that it belongs to: NAME@{text[:13]}…")
    rest, _, digest = text.partition("@")
    if digest or text.endswith("@"):
        _check_digest(text, digest)
    domain, path = _split_domain(rest)
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidReferenceError(text, f"{tag!r} is not a tag", "at most 128 letters, digits, `_`, `.`, `-`")
    if not path:
        raise InvalidReferenceError(text, "the name is empty")
    if not domain and _IDENTIFIER.fullmatch(path):
        raise InvalidReferenceError(text, "64 hexadecimal digits could be a digest", f"write sha256:{path}")
    if domain and not _DOMAIN.fullmatch(domain):
        raise InvalidReferenceError(text, f"{domain!r} is not a host name")
    for component in path.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise InvalidReferenceError(text, f"{component!r} is not a name", _hint(component))
    if domain in ("", "index.docker.io"):
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    if len(domain) + 1 + len(path) > _MAXIMUM:
        raise InvalidReferenceError(text[:60] + "…", f"longer than {_MAXIMUM} characters")
    return Reference(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def normalise(text: str) -> str:
    """The full text form of text. Raises InvalidReferenceError."""
    return str(parse(text))


def familiar(text: str) -> str:
    """The short form of a full reference; text itself when it is no reference."""
    try:
        return parse(text).familiar
    except InvalidReferenceError:
        return text


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    is_domain = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    return (first, rest) if is_domain else ("", text)


def _check_digest(text: str, digest: str) -> None:
    if not is_digest(digest):
        raise InvalidReferenceError(text, f"{digest!r} is not a sha256 digest", "that is `sha256:` and 64 hex digits")


def _hint(component: str) -> str:
    if component != component.lower():
        return "names are lower case"
    return "a name has lower-case letters and digits, joined by `.`, `_`, `__` or `-`"
