"""How this machine reaches package registries: its apt sources, pip and npm settings, proxies and certificates.

Read for the time of one build and mounted into it; nothing of it is ever written into a layer or the lock.
Sources: sources.list(5), apt.conf(5), apt_auth.conf(5); pip's "Configuration"; npmrc(5).
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from glob import glob

from envkit.image.aptsources import AptSource, parse_deb822, parse_one_line

CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)  # fmt: skip
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_LOOPBACK = re.compile(r"://(?:[^@/]*@)?(?:127\.|localhost(?=[:/]|$)|\[::1\])")
_PIP_PATHS = frozenset({"find-links", "index-url", "extra-index-url"})
_PIP_KEYS = _PIP_PATHS | {"trusted-host", "proxy", "timeout", "default-timeout", "retries", "no-index", "client-cert"}
_NPM_KEYS = ("registry", "proxy", "https-proxy", "noproxy", "strict-ssl", "fetch-timeout", "fetch-retries")


def apt_sources(etc: str = "/etc/apt") -> list[AptSource]:
    """Every enabled binary source of this machine, in apt's order; none where it has no apt."""
    found: list[AptSource] = []
    for path in [f"{etc}/sources.list", *sorted(glob(f"{etc}/sources.list.d/*"))]:
        parse = {"list": parse_one_line, "sources": parse_deb822}.get(path.rpartition(".")[2])
        if parse and (text := _read(path)) is not None:
            found += parse(text)
    return found


def apt_settings() -> list[str]:
    """Lines of apt.conf about transport: proxies, timeouts, checks of validity; certificates aside."""
    from envkit.host.process import find, run

    if not find("apt-config"):
        return []
    dump = run(["apt-config", "dump"], env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}).stdout.decode()
    wanted = ("Acquire::http", "Acquire::ftp", "Acquire::Check-", "Acquire::Retries", "Acquire::ForceIPv")
    return [
        line for line in dump.splitlines()
        if line.startswith(wanted) and "::CaInfo" not in line and "::CaPath" not in line and not line.endswith('"";')
    ]  # fmt: skip


def apt_credentials(etc: str = "/etc/apt") -> str:
    """The lines of auth.conf and auth.conf.d: logins for sources."""
    texts = (_read(path) for path in [f"{etc}/auth.conf", *sorted(glob(f"{etc}/auth.conf.d/*.conf"))])
    return "\n".join(text for text in texts if text)


def certificates(environ: Mapping[str, str]) -> str | None:
    """The file with the certificates that this machine trusts, its own ones included."""
    given = (environ.get(name) for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"))
    return next((path for path in (*given, *CERTIFICATES) if path and os.path.isfile(path)), None)


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxy variables, in both spellings, as programs look for either."""
    found: dict[str, str] = {}
    for name in PROXIES:
        value = environ.get(name) or environ.get(name.upper())
        if value:
            found[name] = found[name.upper()] = value
    return found


def loopback_proxy(environ: Mapping[str, str]) -> str:
    """A proxy of this machine that listens on its loopback only, which no network namespace reaches; "" for none."""
    of_apt = (line.partition(" ")[2].strip('";') for line in apt_settings() if "Proxy" in line)
    values = [*proxies(environ).values(), *of_apt]
    return next((value for value in values if _LOOPBACK.search(value)), "")


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip needs to reach its index on this machine; later files win, variables last, as in pip."""
    home = environ.get("HOME", "/root")
    config_home = environ.get("XDG_CONFIG_HOME", os.path.join(home, ".config"))
    files = [
        *(f"{directory}/pip/pip.conf" for directory in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")),
        "/etc/pip.conf", os.path.join(home, ".pip/pip.conf"), os.path.join(config_home, "pip/pip.conf"),
        environ.get("PIP_CONFIG_FILE", ""),
    ]  # fmt: skip
    found: dict[str, str] = {}
    for path in files:
        text = _read(path) if path else None
        if text is None:
            continue
        parser = configparser.RawConfigParser(strict=False)
        with suppress(configparser.Error):  # pip will not have been able to use it either
            parser.read_string(text)
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                found.update(parser.items(section))
    for name, value in environ.items():
        if name.startswith("PIP_"):
            found[name[4:].lower().replace("_", "-")] = value
    found = {key.replace("_", "-"): value for key, value in found.items()}
    return {key: value for key, value in sorted(found.items()) if key in _PIP_KEYS and value}


def npm_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What npm needs to reach its registry on this machine: registries, scopes, logins, proxies."""
    home = environ.get("HOME", "/root")
    files = [
        "/usr/etc/npmrc", "/usr/local/etc/npmrc", "/etc/npmrc", environ.get("NPM_CONFIG_GLOBALCONFIG", ""),
        environ.get("NPM_CONFIG_USERCONFIG", os.path.join(home, ".npmrc")),
    ]  # fmt: skip
    found: dict[str, str] = {}
    for path in files:
        for line in (_read(path) or "").splitlines() if path else ():
            key, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith(("#", ";")):
                found[key.strip()] = os.path.expandvars(value.strip().strip('"'))
    for name, value in environ.items():
        if name.lower().startswith("npm_config_"):
            found[name[11:].lower().replace("_", "-")] = value
    return {
        key: value for key, value in sorted(found.items())
        if value and (key in _NPM_KEYS or key.startswith("//") or (key.startswith("@") and key.endswith(":registry")))
    }  # fmt: skip


def local_paths(values: Iterable[str]) -> list[str]:
    """The directories of this machine that settings name (`file:` URLs, plain paths), which a build must see, too."""
    found = set()
    for value in values:
        for word in value.split():
            path = word.partition(":")[2] if word.startswith(("file:", "copy:")) else word
            path = "/" + path.lstrip("/") if path.startswith("/") else ""
            if path and os.path.exists(path):
                path = os.path.normpath(path)
                # A package index's pages (PEP 503, by custom called "simple") link to files beside it.
                found.add(os.path.dirname(path) if os.path.basename(path) == "simple" else path)
    return sorted(found)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None  # absent, or this user's settings are not ours to read
