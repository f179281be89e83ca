"""Do something in a forked child: a process of one thread, whose namespaces may be changed at will."""

from __future__ import annotations

import os
from collections.abc import Callable


def run_in_child(action: Callable[[], None]) -> str:
    """Run action to its end in a child; "" or what went wrong, for people."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException as error:  # noqa: BLE001  (the parent says it)
            os.write(writer, (str(error) or repr(error)).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        message = file.read().decode(errors="replace")
    os.waitpid(child, 0)
    return message
