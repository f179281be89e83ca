"""`from: {debian: SUITE}`: a root made of Debian packages alone, by mmdebstrap from this machine's own Debian sources.

The result depends on the packages and their versions only: it names Debian's canonical sources, has no trace of the
machine it was made on, and is the same to the byte wherever it is made. Source: mmdebstrap(1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Event as Flag
from typing import Any

from envkit.errors import HostError
from envkit.host.process import require
from envkit.image import contained, machine, normalise, packages
from envkit.image.aptsources import canonical, for_this_machine, one_line
from envkit.image.contained import Line
from envkit.image.placing import Placer
from envkit.image.recipe import PATH
from envkit.image.settings import base_environment
from envkit.image.space import Space

CONFIG = {"Env": [f"PATH={PATH}"], "Cmd": ["/bin/sh"]}


def request(base: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """What the base depends on, beside the versions."""
    return {
        "debian": base["debian"], "variant": base.get("variant", "minbase"), "architecture": architecture,
        "packages": sorted(base.get("packages", ())),
    }  # fmt: skip


def make(
    space: Space, asked: Mapping[str, Any], locked: Mapping[str, str], environ: Mapping[str, str], *,
    on_line: Line = lambda line: None, cancelled: Flag | None = None,
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """Make the root in the space; returns its directory and the versions of its packages.

    locked: versions to take where the mirror has them. Raises HostError with mmdebstrap's last lines.
    """
    tree = space.directory("tree")
    suite = asked["debian"]
    sources = for_this_machine(canonical(suite), machine.apt_sources())
    listed = space.file("mmdebstrap.sources", "\n".join(source.encode() for source in sources))
    pins = space.file("preferences", packages.preferences(locked))
    require("apt-get")
    argv = [
        require("mmdebstrap"), "--mode=root", "--format=directory", f"--variant={asked['variant']}",
        f"--architectures={asked['architecture']}",
        "--skip=output/dev,chroot/mount/sys", f"--setup-hook=upload {pins} /etc/apt/preferences.d/envkit",
        '--aptopt=Acquire::Languages "none"', '--aptopt=APT::Sandbox::User "root"', "--dpkgopt=force-unsafe-io",
        *([f"--include={','.join(asked['packages'])}"] if asked["packages"] else []),
        suite, tree, listed,
    ]  # fmt: skip
    _run(argv, space, environ, on_line, cancelled)
    versions = packages.installed(tree)
    _finish(tree, suite)
    return tree, versions


def _finish(tree: str, suite: str) -> None:
    """Take out what mmdebstrap and the machine left, put in Debian's own sources."""
    normalise.clean(
        tree, *normalise.LEFTOVERS, *normalise.KEYS, *normalise.MACHINE, "dev/*", "run/*", "tmp/*", "var/tmp/*",
        "etc/apt/preferences.d/envkit", "etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
        "etc/apt/sources.list.d/*",
    )  # fmt: skip
    normalise.drop_links(tree, "etc/ssl/certs/*", "ssl-cert-snakeoil.pem")
    normalise.forget_machine_id(tree)
    normalise.settle_bytecode(tree)
    with Placer(tree) as placer:
        placer.put("/etc/apt/sources.list", one_line(canonical(suite)).encode(), 0o644, 0, 0)


def _run(argv: list[str], space: Space, environ: Mapping[str, str], on_line: Line, cancelled: Flag | None) -> None:
    environment = {
        **base_environment(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONHASHSEED": "0", "HOME": "/root",
        "TMPDIR": space.directory("tmp", 0o1777), "DEBIAN_FRONTEND": "noninteractive", **machine.proxies(environ),
    }  # fmt: skip
    outcome = contained.run(argv, environment=environment, on_line=on_line, cancelled=cancelled)
    if outcome.returncode:
        raise HostError(
            "a Debian base cannot be made", _reason(outcome.last), _hint(outcome.last), command=argv,
            returncode=outcome.returncode, stderr="\n".join(outcome.last),
        )  # fmt: skip


def _reason(lines: Sequence[str]) -> str:
    """The first error, which is the cause of those after it."""
    return next((line.removeprefix("E: ") for line in lines if line.startswith("E: ")), "mmdebstrap failed")


def _hint(lines: Sequence[str]) -> str:
    if unknown := packages.missing(lines):
        return f"there is no package {', '.join(unknown)} in this suite: check `packages:`"
    if any("does not have a Release file" in line for line in lines):
        return "check the suite's name (bookworm, trixie, …), and that this machine's mirror carries it"
    return "see whether `apt-get update` works on this machine; `envkit doctor` looks at its sources"
