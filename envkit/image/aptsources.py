"""apt's sources as values: parsed, and Debian's canonical ones turned into this machine's for a build.

Pure. Source: sources.list(5) (one-line style and deb822 style).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from envkit.values import field, replace, value

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ARCHIVE, SECURITY = "http://deb.debian.org/debian", "http://security.debian.org/debian-security"
ROLLING = frozenset({"sid", "unstable", "experimental"})
_COMPONENTS = frozenset({"main", "contrib", "non-free", "non-free-firmware"})
_CANONICAL = re.compile(r"https?://((deb|security|httpredir|ftp|cdn-fastly\.deb)(\.[a-z]{2})?\.debian\.org)(/|$)")
_KNOWN = re.compile(r"(?P<name>[a-z]+)(?P<part>-updates|-security|/updates)?")
_LINE = re.compile(
    r"^[ \t]*deb[ \t]+(?:\[(?P<options>[^\]]*)\][ \t]*)?(?P<uri>[^\s#]+)[ \t]+(?P<suite>[^\s#]+)"
    r"(?P<components>[^#\n]*)",
    re.MULTILINE,
)


@value
class AptSource:
    """One source of binary packages. options: further keys as written, `signed-by` among them (a path, or a key)."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    def encode(self) -> str:
        """The deb822 stanza."""
        lines = ["Types: deb", f"URIs: {' '.join(self.uris)}", f"Suites: {' '.join(self.suites)}"]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        lines += [f"{key.title()}: {value}" for key, value in self.options.items()]
        return "\n".join(lines) + "\n"

    @property
    def is_canonical(self) -> bool:
        """Whether it is Debian's own, under one of Debian's own names."""
        return all(_CANONICAL.match(uri) for uri in self.uris)

    @property
    def is_debian(self) -> bool:
        """Whether it carries Debian's archive, on whatever mirror: its suites, its components, its keyring."""
        signer = self.options.get("signed-by", "")
        known = all(_KNOWN.fullmatch(suite) for suite in self.suites)
        debian_key = not signer or "debian-archive" in signer
        return known and debian_key and "main" in self.components and _COMPONENTS.issuperset(self.components)


def parse_one_line(text: str) -> list[AptSource]:
    """A sources.list."""
    found = []
    for match in _LINE.finditer(text):
        pairs = (word.partition("=") for word in (match["options"] or "").split())
        options = {key.strip("+-").lower(): value.replace(",", " ") for key, _, value in pairs}
        found.append(AptSource((match["uri"],), (match["suite"],), tuple(match["components"].split()), options))
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """A .sources file."""
    found = []
    for stanza in re.split(r"\n(?:[ \t]*\n)+", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in " \t" and key:
                fields[key] += "\n" + line
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        words = {name: tuple(fields.get(name, "").split()) for name in ("uris", "suites", "components")}
        if words["uris"] and words["suites"]:
            options = {
                name: value for name, value in fields.items() if name not in (*words, "types", "enabled")
            }  # fmt: skip
            found.append(AptSource(words["uris"], words["suites"], words["components"], options))
    return found


def canonical(suite: str, components: Sequence[str] = ("main",)) -> list[AptSource]:
    """Debian's own sources for a suite: what an image names, whatever it was made from."""
    words = tuple(components)
    if suite in ROLLING:
        return [AptSource((ARCHIVE,), (suite,), words)]
    return [
        AptSource((ARCHIVE,), (suite,), words), AptSource((ARCHIVE,), (f"{suite}-updates",), words),
        AptSource((SECURITY,), (f"{suite}-security",), words),
    ]  # fmt: skip


def one_line(sources: Iterable[AptSource]) -> str:
    """A sources.list of canonical sources."""
    return "".join(
        f"deb {uri} {suite} {' '.join(source.components)}\n"
        for source in sources for uri in source.uris for suite in source.suites
    )  # fmt: skip


def for_this_machine(wanted: Iterable[AptSource], machine: Iterable[AptSource]) -> list[AptSource]:
    """The sources to fetch from: where wanted is Debian's own, this machine's source of the same suite instead.

    A machine of another Debian release serves by its mirror of that release; without any Debian source, and for sources
    that are not Debian's, wanted stays.
    """
    debian = [source for source in machine if source.is_debian]
    chosen: list[AptSource] = []
    for source in wanted:
        if not source.is_canonical:
            chosen.append(source)
            continue
        for suite in source.suites:
            chosen += _mirrors(suite, source, debian)
    return chosen


def _mirrors(suite: str, source: AptSource, debian: Sequence[AptSource]) -> list[AptSource]:
    def serving(other: str) -> list[AptSource]:
        return [
            replace(item, suites=(suite,), components=source.components, options=_transport(item))
            for item in debian if other in item.suites
        ]  # fmt: skip

    if exact := serving(suite):
        return exact
    match = _KNOWN.fullmatch(suite)
    part = (match["part"] or "") if match else ""
    for item in debian:
        for other in item.suites:
            known = _KNOWN.fullmatch(other)
            if known and (known["part"] or "") == part:
                return serving(other)
    return [replace(source, suites=(suite,))]


def _transport(source: AptSource) -> dict[str, str]:
    """Options that say how to fetch and whom to trust, without those that choose what."""
    return {key: value for key, value in source.options.items() if key in ("signed-by", "trusted", "check-valid-until")}
