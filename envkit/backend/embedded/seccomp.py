"""System call filters: a profile in Docker's format -> what the OCI runtime is given.

crun takes a compiled program (annotation `run.oci.seccomp_bpf_data`) and then starts a container without the 18 ms
that compiling costs; runc ignores that annotation silently and so gets `linux.seccomp`. The profile's format: Docker's
`seccomp` profiles (defaultAction, archMap, syscalls with includes/excludes); the filter itself: seccomp(2), libseccomp.
"""

from __future__ import annotations

import base64
import ctypes
import os
from collections.abc import Mapping, Sequence

from envkit.digest import canonical_json, sha256
from envkit.errors import EnvkitError, HostError, UnsupportedError
from envkit.host.home import Home
from envkit.lean import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANNOTATION = "run.oci.seccomp_bpf_data"
PROFILES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")

_ARCHITECTURES = {  # uname machine -> (Go name, libseccomp name of the native architecture)
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "i686": ("386", "SCMP_ARCH_X86"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
}
_ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_OPERATORS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip


def default_profile() -> str:
    """The JSON text of the machine's default profile. Raises UnsupportedError when none is installed."""
    for path in PROFILES:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            continue
    raise UnsupportedError(
        "There is no seccomp profile on this machine",
        f"none of {', '.join(PROFILES)} exists",
        "install golang-github-containers-common, or write `security_opt: [seccomp=unconfined]`",
    )


def _applies(rule: Mapping[str, Any], capabilities: frozenset[str], arch: str) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if not set(includes.get("caps") or ()) <= capabilities or set(excludes.get("caps") or ()) & capabilities:
        return False
    wanted = includes.get("arches")
    return not (wanted and arch not in wanted) and arch not in (excludes.get("arches") or ())


def select(profile: Mapping[str, Any], capabilities: Sequence[str], machine: str) -> dict[str, Any]:
    """The profile for one capability set and machine as `linux.seccomp` (OCI runtime-spec config-linux.md#seccomp).

    capabilities: `CAP_…` names; machine: uname's. Pure. Raises EnvkitError for what is no profile.
    """
    if not isinstance(profile.get("defaultAction"), str) or not isinstance(profile.get("syscalls", []), list):
        raise EnvkitError("A seccomp profile is malformed", "it needs `defaultAction` and a list `syscalls`")
    arch, native = _ARCHITECTURES.get(machine, (machine, ""))
    held = frozenset(capabilities)
    architectures = list(profile.get("architectures") or ())
    for row in profile.get("archMap") or ():
        if row.get("architecture") == native:
            architectures = [native, *(row.get("subArchitectures") or ())]
    calls = []
    for rule in profile.get("syscalls") or ():
        if not _applies(rule, held, arch):
            continue
        call: dict[str, Any] = {"names": list(rule.get("names") or [rule["name"]]), "action": rule["action"]}
        if rule.get("errnoRet") is not None:
            call["errnoRet"] = rule["errnoRet"]
        if rule.get("args"):
            call["args"] = [
                {"index": a["index"], "value": a["value"], "valueTwo": a.get("valueTwo", 0), "op": a["op"]}
                for a in rule["args"]
            ]
        calls.append(call)
    chosen: dict[str, Any] = {"defaultAction": profile["defaultAction"], "syscalls": calls}
    if profile.get("defaultErrnoRet") is not None:
        chosen["defaultErrnoRet"] = profile["defaultErrnoRet"]
    if architectures:
        chosen["architectures"] = architectures
    if profile.get("flags"):
        chosen["flags"] = profile["flags"]
    return chosen


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise UnsupportedError("libseccomp is not installed", str(error), "install libseccomp2") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison)
    ]  # fmt: skip
    return library


def _action(name: str, number: int | None) -> int:
    if name not in _ACTIONS:
        raise EnvkitError("A seccomp profile names an unknown action", repr(name))
    return _ACTIONS[name] | ((1 if number is None else number) & 0xFFFF if name in _WITH_NUMBER else 0)


def _argument_sets(arguments: Sequence[Mapping[str, Any]]) -> list[list[_Comparison]]:
    """libseccomp takes one condition per argument: several on the same one become a rule each (their union)."""
    rows = [
        _Comparison(item["index"], _OPERATORS[item["op"]], item["value"], item.get("valueTwo", 0)) for item in arguments
    ]
    if len({row.arg for row in rows}) < len(rows):
        return [[row] for row in rows]
    return [rows]


def compile_program(selected: Mapping[str, Any]) -> bytes:
    """The raw `sock_filter` array for a selected profile (see select). Raises HostError when libseccomp refuses."""
    library = _library()
    default = _action(selected["defaultAction"], selected.get("defaultErrnoRet"))
    context = library.seccomp_init(default)
    if not context:
        raise HostError("seccomp_init failed", selected["defaultAction"])
    try:
        for name in selected.get("architectures", ()):
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            added = library.seccomp_arch_add(context, token)
            if added not in (0, -17):  # EEXIST: the native one
                raise HostError("seccomp_arch_add failed", f"{name}: {os.strerror(-added)}")
        for call in selected["syscalls"]:
            action = _action(call["action"], call.get("errnoRet"))
            if action == default:
                continue
            sets = _argument_sets(call.get("args", ()))
            for name in call["names"]:
                number = library.seccomp_syscall_resolve_name(name.encode())
                if number == -1:  # unknown to this libseccomp: the default action holds, which is the stricter one
                    continue
                for row in sets:
                    result = library.seccomp_rule_add_array(
                        context, action, number, len(row), (_Comparison * len(row))(*row)
                    )
                    if result:
                        raise HostError("seccomp_rule_add failed", f"{name}: {os.strerror(-result)}")
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _export(library: ctypes.CDLL, context: int) -> bytes:
    descriptor = os.memfd_create("seccomp")
    try:
        if result := library.seccomp_export_bpf(context, descriptor):
            raise HostError("seccomp_export_bpf failed", os.strerror(-result))
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise EnvkitError("A seccomp profile is malformed", str(error), "it must be JSON in Docker's format") from error
    if not isinstance(value, dict):
        raise EnvkitError("A seccomp profile is malformed", "it must be a JSON object")
    return value


def document(text: str, capabilities: Sequence[str]) -> dict[str, Any]:
    """`linux.seccomp` for a runtime that compiles itself."""
    return select(_parse(text), capabilities, os.uname().machine)


def program(home: Home, text: str, capabilities: Sequence[str]) -> str:
    """The value of ANNOTATION: the compiled program in base64, from the cache when it is there.

    text: a profile's JSON. One cache entry per profile, capability set, architecture and libseccomp; an entry carries
    its own digest, since crun accepts a program that was cut off.
    """
    machine = os.uname().machine
    version = _library_identity()
    key = sha256(canonical_json([sha256(text.encode()), sorted(capabilities), machine, version]))[7:39]
    path = os.path.join(home.cache, "seccomp", key)
    try:
        with open(path, "rb") as file:
            digest, _, cached = file.read().partition(b"\n")
        if digest == sha256(cached).encode():
            return cached.decode()
    except FileNotFoundError:
        pass
    from envkit.host.files import make_directory, write_atomic

    raw = compile_program(select(_parse(text), capabilities, machine))
    if not raw or len(raw) % 8:
        raise HostError("libseccomp wrote a broken program", f"{len(raw)} bytes are no sock_filter array")
    encoded = base64.b64encode(raw)
    make_directory(os.path.dirname(path))
    write_atomic(path, sha256(encoded).encode() + b"\n" + encoded)
    return encoded.decode()


def _library_identity() -> str:
    """The resolved file name of libseccomp (it carries the version), without loading it."""
    import sys

    triplet = getattr(sys.implementation, "_multiarch", "")
    for directory in (f"/usr/lib/{triplet}", "/usr/lib64", "/usr/lib", f"/lib/{triplet}"):
        path = f"{directory}/libseccomp.so.2"
        if os.path.exists(path):
            return os.path.realpath(path)
    return "unknown"
