"""A Debian machine of one's own in qemu, with control groups of version 2 only.

The root is made once per set of packages (mmdebstrap, ext4) and never written to; envkit and the guest's program come
on a second disk, a tar archive, at each boot. Without /dev/kvm the machine is emulated, which takes a minute per boot.
Needs qemu-system-x86, mmdebstrap and e2fsprogs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "busybox-static", "conmon", "crun", "curl", "dbus", "golang-github-containers-common", "initramfs-tools",
    "iproute2", "kmod", "linux-image-amd64", "nftables", "procps", "python3", "runc", "systemd", "systemd-sysv", "tini",
    "udev",
)  # fmt: skip
MODULES = ("virtio_pci", "virtio_blk", "ext4")
GUEST = ("envkit", "schemas", "templates", "pyproject.toml", "tests")
SIZE = "3G"
READY, OVER = "envkit-guest: begin", "envkit-guest: end"

_PLAIN = """#!/bin/sh
# The init of a machine without systemd: what is needed to run containers, then the guest's program.
mount -t proc proc /proc 2>/dev/null
mount -t sysfs sysfs /sys 2>/dev/null
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -o remount,rw /
ip link set lo up
exec setsid sh -c 'sh /usr/local/sbin/guest </dev/ttyS0 >/dev/ttyS0 2>&1'
"""
_GUEST = """#!/bin/sh
mkdir -p /work && tar -x -f /dev/vdb -C /work
cd /work && PYTHONPATH=/work PYTHONDONTWRITEBYTECODE=1 python3 -m tests.vm.guest
sync; echo b >/proc/sysrq-trigger
"""
_UNIT = """[Unit]
Description=The guest's program
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh /usr/local/sbin/guest
StandardOutput=file:/dev/ttyS0
StandardError=file:/dev/ttyS0
KillMode=process
[Install]
WantedBy=multi-user.target
"""


def image(cache: str) -> tuple[str, str, str]:
    """(kernel, initrd, root filesystem) in a directory of the cache; made where they are not there yet."""
    stamp = hashlib.sha256(repr((PACKAGES, MODULES, _PLAIN, _GUEST, _UNIT)).encode()).hexdigest()[:12]
    made = os.path.join(cache, stamp)
    if not os.path.isdir(made):
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            _make(work, ready := os.path.join(work, "ready"))
            os.rename(ready, made)
    return os.path.join(made, "vmlinuz"), os.path.join(made, "initrd.img"), os.path.join(made, "root.ext4")


def _make(work: str, ready: str) -> None:
    tree = os.path.join(work, "tree")
    os.mkdir(ready)
    initramfs = "$1/etc/initramfs-tools"
    subprocess.run([
        "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}",
        "--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"',
        f"--essential-hook=mkdir -p {initramfs}/conf.d && echo MODULES=list > {initramfs}/conf.d/modules && "
        f"echo {' '.join(MODULES)} | tr ' ' '\\n' > {initramfs}/modules && echo COMPRESS=gzip > {initramfs}/conf.d/z",
        "bookworm", tree,
    ], check=True, timeout=900)  # fmt: skip
    _python(os.path.join(tree, "opt/python"))
    Path(tree, "usr/local/lib/python3.11/dist-packages/tests.pth").write_text("/opt/python\n")
    Path(tree, "usr/local/sbin/plain-init").write_text(_PLAIN)
    Path(tree, "usr/local/sbin/plain-init").chmod(0o755)
    Path(tree, "usr/local/sbin/guest").write_text(_GUEST)
    wanted = Path(tree, "etc/systemd/system/multi-user.target.wants")
    Path(tree, "etc/systemd/system/guest.service").write_text(_UNIT)
    wanted.mkdir(exist_ok=True)
    (wanted / "guest.service").symlink_to("../guest.service")
    for name in ("vmlinuz", "initrd.img"):
        (found,) = Path(tree, "boot").glob(f"{name}-*")
        shutil.copy(found, os.path.join(ready, name))
    disk = os.path.join(ready, "root.ext4")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, disk, SIZE], check=True, timeout=300)
    subprocess.run(["rm", "-rf", tree], check=True, timeout=120)


def _python(directory: str) -> None:
    """What envkit and its tests import, for the guest's Python 3.11."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], "pytest", "hypothesis"]
    subprocess.run([
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", directory,
        "--python-version", "3.11", "--only-binary", ":all:", *wanted,
    ], check=True, timeout=600)  # fmt: skip


def boot(cache: str, work: str, *, systemd: bool, timeout: float = 1500, arguments: Sequence[str] = ()) -> str:
    """Boot, run the guest's program, and return what it printed between its first and its last line."""
    kernel, initrd, root = image(cache)
    archive = os.path.join(work, "guest.tar")
    # The guest's Python is of the same minor version and reads this bytecode; emulated, it would compile for minutes.
    subprocess.run([sys.executable, "-m", "compileall", "-q", "envkit", "tests"], cwd=ROOT, check=True)
    with tarfile.open(archive, "w") as file:
        for name in GUEST:
            file.add(ROOT / name, name, filter=lambda item: None if item.name == "tests/apps" else item)
    init = "" if systemd else "init=/usr/local/sbin/plain-init"
    words = f"root=/dev/vda rw console=ttyS0 quiet panic=-1 loglevel=3 systemd.mask=serial-getty@ttyS0.service {init}"
    console = os.path.join(work, "console")
    done = subprocess.run([
        "qemu-system-x86_64", *_accelerator(), "-m", "2048", "-smp", "2", "-nographic", "-no-reboot", "-nodefaults",
        "-serial", f"file:{console}", "-kernel", kernel, "-initrd", initrd, "-append", " ".join((words, *arguments)),
        "-drive", f"file={root},format=raw,if=virtio,snapshot=on",
        "-drive", f"file={archive},format=raw,if=virtio,read-only=on",
    ], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)  # fmt: skip
    said = Path(console).read_text(errors="replace").replace("\r\n", "\n")
    if READY not in said or OVER not in said:
        complaint = done.stderr.decode(errors="replace")
        raise RuntimeError(f"the machine ended before its program did:\n{said[-6000:]}\n{complaint}")
    return said.partition(READY)[2].partition(OVER)[0]


def _accelerator() -> tuple[str, ...]:
    """KVM where a machine really starts under it, emulation elsewhere."""
    try:
        probe = subprocess.run([
            "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-display", "none", "-nodefaults", "-m", "16", "-S",
        ], capture_output=True, timeout=2, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        return ("-accel", "kvm", "-cpu", "host")
    del probe
    return ("-accel", "tcg,thread=multi", "-cpu", "max")
