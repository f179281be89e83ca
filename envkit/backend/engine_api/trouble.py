"""From what a library or the kernel raised to an error that says what is wrong and what to do."""

from __future__ import annotations

from envkit.backend.engine_api.errors import EngineCutError, EngineUnreachableError, refused
from envkit.lean import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from envkit.backend.engine_api.address import EngineAddress
    from envkit.errors import EnvkitError


def explained(error: BaseException, address: EngineAddress, asked: str, *, begun: bool = False) -> EnvkitError:
    """The EnvkitError of an exception. begun: an answer was being read."""
    import ssl

    from envkit.errors import EnvkitError

    causes = list(_causes(error))
    for cause in causes:
        match cause:
            case EnvkitError():
                return cause
            case ssl.SSLCertVerificationError():
                return EngineUnreachableError(
                    "The engine's certificate is not trusted", f"{address}: {cause.verify_message or cause}",
                    "ca.pem in DOCKER_CERT_PATH must be the one that signed it",
                )  # fmt: skip
            case ssl.SSLError() if "EOF" not in str(cause):
                return EngineUnreachableError(
                    "The engine and envkit do not agree on TLS", f"{address}: {cause.reason or cause}",
                    "cert.pem and key.pem in DOCKER_CERT_PATH must be signed by the engine's ca; without TLS, unset "
                    "DOCKER_TLS_VERIFY",
                )  # fmt: skip
            case PermissionError():
                return EngineUnreachableError(
                    "The engine may not be spoken to", f"{address}: permission denied",
                    "run envkit as root or as a member of the group that owns the socket (docker's is `docker`)",
                )  # fmt: skip
            case FileNotFoundError():
                return EngineUnreachableError(
                    "There is no engine", f"{address}: no such socket",
                    "start the engine, or name another by DOCKER_HOST or a docker context",
                )  # fmt: skip
            case ConnectionRefusedError():
                return EngineUnreachableError(
                    "There is no engine", f"{address}: nobody listens there",
                    "start the engine, or name another by DOCKER_HOST or a docker context",
                )  # fmt: skip
    texts = " ".join(f"{type(cause).__name__} {cause}" for cause in causes)
    if "NameResolution" in texts or "gaierror" in texts:
        return EngineUnreachableError("An engine's host is not known", str(address), "check the name, and DNS")
    if "ConnectTimeout" in texts or "No route to host" in texts or "Network is unreachable" in texts:
        return EngineUnreachableError("An engine cannot be reached", f"{address}: {causes[-1]}", "check the network")
    if "ReadTimeout" in texts or "Read timed out" in texts or "TimeoutError" in texts:
        return EngineCutError(
            "The engine does not answer", f"{asked} to {address}: nothing came in time",
            "`docker info` shows whether it lives; envkit can be run again",
        )  # fmt: skip
    if address.scheme == "ssh" and not begun:
        return EngineUnreachableError(
            "An engine cannot be reached over ssh", f"{address}: {causes[-1]}",
            "`ssh HOST docker version` must work without a question",
        )  # fmt: skip
    return EngineCutError(
        "The connection to the engine was cut", f"{asked} to {address}: {causes[-1]}",
        "what it was doing may be half done: run envkit again, it goes on from what is there",
    )  # fmt: skip


def refusal(address: EngineAddress, status: int, content: bytes, asked: str) -> EnvkitError:
    """The error of an answer that is no success, with the engine's own words."""
    text = content.decode(errors="replace").strip()
    if "HTTP request to an HTTPS server" in text:
        return EngineUnreachableError(
            "The engine speaks TLS only", str(address), "set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"
        )
    if "client version" in text and "too old" in text:
        return EngineUnreachableError("The engine is too new for this envkit", text, "upgrade envkit")
    try:
        text = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        text = text or "no message"
    return refused(status, text, asked)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, be it as cause, context, argument or urllib3's `reason`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        item = waiting.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        waiting += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
