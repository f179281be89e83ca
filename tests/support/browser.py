"""Chromium without a window, spoken to over a pipe by the DevTools protocol: pages are opened, asked and photographed.

Messages are JSON that ends in a zero byte, read by the browser from descriptor 3 and written to 4
(`--remote-debugging-pipe`).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

PROGRAM = "chromium"
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
          "--no-first-run", "--disable-background-networking", "--disable-extensions")  # fmt: skip


def _pipe() -> tuple[int, int]:
    """Its ends, both above the descriptors that mean something to the browser."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]


class Browser:
    """One browser with one page. A context manager: at its end every process of the browser is gone."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self._number = 0
        self.requested: list[str] = []

    def __enter__(self) -> Browser:
        theirs_in, ours_out = _pipe()
        ours_in, theirs_out = _pipe()
        argv = [PROGRAM, *_FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out} {theirs_in}<&- {theirs_out}>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *argv], pass_fds=(theirs_in, theirs_out), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._profile},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(ours_out, "wb", buffering=0), os.fdopen(ours_in, "rb", buffering=0)
        self._left = b""
        target = next(item for item in self._ask("Target.getTargets")["targetInfos"] if item["type"] == "page")
        self._session = ""
        self._session = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self._ask("Page.enable")
        self._ask("Network.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        self._ask("Browser.close")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with suppress(ProcessLookupError):  # helpers may outlive it
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._out.close()
        self._in.close()

    def open(self, address: str) -> None:
        """Show a page."""
        self._ask("Page.navigate", until="Page.loadEventFired", url=address)

    def look(self, *, width: int, height: int, dark: bool) -> None:
        """From now on through a window of so many CSS pixels, for somebody who likes it dark or light."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def photograph(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])

    def _ask(self, method: str, until: str = "", **params: Any) -> Any:
        """The answer to one message; until: wait for this event as well."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if getattr(self, "_session", ""):
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        answer: Any = None
        while answer is None or until:
            said = self._hear()
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said}"
                answer = said["result"]
            elif said.get("method") == "Network.requestWillBeSent":
                self.requested.append(said["params"]["request"]["url"])
            elif until and said.get("method") == until:
                until = ""
        return answer

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            more = self._in.read(1 << 20)
            assert more, "the browser has gone"
            self._left += more
        text, _, self._left = self._left.partition(b"\0")
        said: dict[str, Any] = json.loads(text)
        return said
