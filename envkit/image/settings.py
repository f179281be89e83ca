"""This machine's way to the package registries, as a build's command finds it: files below /run/envkit and variables.

Mounted for the time of the command; the layer never sees any of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from glob import glob

from envkit.host.files import remove_tree
from envkit.image import machine
from envkit.image.aptsources import AptSource, for_this_machine, parse_deb822, parse_one_line
from envkit.image.recipe import EPOCH
from envkit.image.sandbox import Bind
from envkit.image.space import Space
from envkit.values import replace, value

PLACE = "/run/envkit"
_CERTIFICATE_VARIABLES = (
    "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "GIT_SSL_CAINFO",
)  # fmt: skip
_APT_SOURCES = """\
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{place}/sources";
"""
_APT_PLACES = """\
Dir::Etc::netrc "{place}/auth.conf";
Dir::State::Lists "{place}/lists";
Dir::Cache::pkgcache "{place}/archives/pkgcache.bin";
Dir::Cache::srcpkgcache "{place}/archives/srcpkgcache.bin";
APT::Sandbox::User "root";
"""
_APT = """\
Dir::Etc::Preferences "{place}/preferences";
Dir::Cache::Archives "{place}/archives";
Dir::Log "/tmp";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
DPkg::Options {{ "--force-confold"; "--force-unsafe-io"; }};
DPkg::Use-Pty "false";
"""


@value
class Settings:
    """binds and environment for a command; sources: what apt fetches from; directory: PLACE on this machine."""

    directory: str
    binds: tuple[Bind, ...]
    environment: Mapping[str, str]
    sources: tuple[AptSource, ...]


def base_environment() -> dict[str, str]:
    """Variables that make programs repeat themselves to the byte."""
    return {
        "SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC",
    }  # fmt: skip


def lay_out(
    space: Space, root: str, environ: Mapping[str, str], preferences: str = "", *, as_written: bool = False
) -> Settings:
    """Write the settings into the space, anew each time; root is the image's, whose own apt sources decide which suites
    are used. as_written: apt decides as it would anywhere (questions, recommended packages), and reads the image's own
    sources where this machine has none in their stead."""
    directory = space.directory("settings")
    remove_tree(directory)
    space.directory("settings")
    for name in ("sources", "keys", "lists", "archives"):
        space.directory(f"settings/{name}")
    environment = {**machine.proxies(environ)}
    binds = [Bind(directory, PLACE)]
    for name in ("lists", "archives"):
        binds.append(Bind(space.directory(f"apt-{name}"), f"{PLACE}/{name}", read_only=False))
    certificates = machine.certificates(environ)
    if certificates:
        shutil.copyfile(certificates, os.path.join(directory, "certificates.crt"))
        environment.update(dict.fromkeys(_CERTIFICATE_VARIABLES, f"{PLACE}/certificates.crt"))
    written = image_sources(root)
    sources = for_this_machine(written, machine.apt_sources())
    _apt(space, sources, bool(certificates), preferences, as_written=as_written, same=sources == written)
    pip, npm = machine.pip_settings(environ), machine.npm_settings(environ)
    space.file("settings/pip.conf", "[global]\n" + "".join(f"{key} = {_indent(value)}\n" for key, value in pip.items()))
    space.file("settings/npmrc", _npmrc(npm, bool(certificates)))
    if not as_written:
        environment["DEBIAN_FRONTEND"] = "noninteractive"
    environment |= {
        "APT_CONFIG": f"{PLACE}/apt.conf", "PIP_CONFIG_FILE": f"{PLACE}/pip.conf",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore",
        "NPM_CONFIG_USERCONFIG": f"{PLACE}/npmrc",
    }  # fmt: skip
    local = [word for source in sources for word in source.uris] + list(pip.values())
    binds += [Bind(path, path) for path in machine.local_paths(local)]
    return Settings(directory, tuple(binds), environment, tuple(sources))


def image_sources(root: str) -> list[AptSource]:
    """The sources that the image at root names."""
    from envkit.host.beneath import read_beneath

    found = parse_one_line((read_beneath(root, "etc/apt/sources.list") or b"").decode(errors="replace"))
    for path in sorted(glob("etc/apt/sources.list.d/*", root_dir=root)):
        parse = {"list": parse_one_line, "sources": parse_deb822}.get(path.rpartition(".")[2])
        if parse:
            found += parse((read_beneath(root, path) or b"").decode(errors="replace"))
    return found


def _apt(
    space: Space, sources: list[AptSource], certificates: bool, preferences: str, *, as_written: bool, same: bool
) -> None:
    stanzas = [_with_key(space, number, source).encode() for number, source in enumerate(sources)]
    space.file("settings/sources/all.sources", "\n".join(stanzas))
    space.file("settings/preferences", preferences)
    space.file("settings/auth.conf", machine.apt_credentials(), 0o600)
    parts = ("" if as_written and same else _APT_SOURCES, _APT_PLACES, "" if as_written else _APT)
    lines = [*(part.format(place=PLACE) for part in parts), *(line + "\n" for line in machine.apt_settings())]
    if certificates:
        lines.append(f'Acquire::https::CaInfo "{PLACE}/certificates.crt";\n')
    space.file("settings/apt.conf", "".join(lines))


def _with_key(space: Space, number: int, source: AptSource) -> AptSource:
    """The source, its keyring of this machine replaced by a copy that the command sees."""
    signer = source.options.get("signed-by", "")
    if not (source.is_debian and signer.startswith("/") and os.path.isfile(signer)):
        return source
    name = f"keys/{number}{os.path.splitext(signer)[1]}"
    shutil.copyfile(signer, os.path.join(space.path, "settings", name))
    return replace(source, options={**source.options, "signed-by": f"{PLACE}/{name}"})


def _npmrc(settings: Mapping[str, str], certificates: bool) -> str:
    fixed = {
        "audit": "false", "fund": "false", "update-notifier": "false", "omit-lockfile-registry-resolved": "true",
        "cache": "/tmp/npm", "logs-max": "0", **({"cafile": f"{PLACE}/certificates.crt"} if certificates else {}),
    }  # fmt: skip
    return "".join(f"{key}={value}\n" for key, value in {**settings, **fixed}.items())


def _indent(value: str) -> str:
    return "\n    ".join(value.split("\n"))
