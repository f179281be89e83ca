"""Which Debian package brings which program. Read by `process.require` and by `doctor`."""

from __future__ import annotations

PACKAGES = {
    "crun": "crun",
    "runc": "runc",
    "conmon": "conmon",
    "nft": "nftables",
    "ip": "iproute2",
    "iptables": "iptables",
    "skopeo": "skopeo",
    "mmdebstrap": "mmdebstrap",
    "apt-get": "apt",
    "catatonit": "catatonit",
    "tini": "tini",
    "newuidmap": "uidmap",
    "newgidmap": "uidmap",
    "slirp4netns": "slirp4netns",
    "pasta": "passt",
    "modprobe": "kmod",
    "busctl": "systemd",
    "mount.nfs": "nfs-common",
    "mount.cifs": "cifs-utils",
    "git": "git",
    "ssh": "openssh-client",
    "zstd": "zstd",
    "xz": "xz-utils",
    "tar": "tar",
    "gpgv": "gpgv",
    "pip3": "python3-pip",
    "npm": "npm",
}


def package_of(tool: str) -> str:
    """The Debian package that brings tool (its own name where none is known)."""
    return PACKAGES.get(tool, tool)
