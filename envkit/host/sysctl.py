"""Kernel settings of the calling thread's network namespace, by name (`net.ipv4.ip_forward`)."""

from __future__ import annotations

from envkit.errors import HostError


def _path(name: str) -> str:
    """Interface names may contain dots, so a name may also be given with slashes: net/ipv4/conf/br.0/forwarding."""
    return "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))


def read_sysctl(name: str) -> str | None:
    """The value as text; None where the kernel has no such setting."""
    try:
        with open(_path(name), encoding="ascii") as file:
            return file.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_sysctl(name: str, value: str) -> None:
    """Set a value unless it is so already. Raises HostError."""
    if read_sysctl(name) == value:
        return
    try:
        with open(_path(name), "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise HostError(
            "a kernel setting cannot be changed", f"{name} = {value}: {error.strerror}",
            f"set it yourself with `sysctl -w {name.replace('/', '.')}={value}`",
        ) from error  # fmt: skip
