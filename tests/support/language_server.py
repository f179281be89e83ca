"""A client for a language server on stdio: enough of LSP to ask what an editor asks (LSP 3.17)."""

from __future__ import annotations

import json
import subprocess
import threading
from queue import Queue
from typing import Any


class LanguageServer:
    """Used as a context manager. settings: the answer to every workspace/configuration question."""

    def __init__(self, argv: list[str], settings: dict[str, Any]) -> None:
        self.settings = settings
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.incoming: Queue[dict[str, Any]] = Queue()
        self.published: dict[str, list[dict[str, Any]]] = {}
        self.number = 0
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> LanguageServer:
        asked = {"workspace": {"configuration": True}, "textDocument": {"hover": {"contentFormat": ["plaintext"]}}}
        self.ask("initialize", {"processId": None, "rootUri": None, "capabilities": asked})
        self.tell("initialized", {})
        self.tell("workspace/didChangeConfiguration", {"settings": self.settings})
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while line := stream.readline():
            length = int(line.split(b":")[1]) if line.lower().startswith(b"content-length") else 0
            while line not in (b"\r\n", b""):
                line = stream.readline()
            self.incoming.put(json.loads(stream.read(length)))

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: Any) -> Any:
        self.number += 1
        number = self.number
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._next()
            if message.get("id") == number and "method" not in message:
                return message.get("result")

    def _next(self) -> dict[str, Any]:
        message = self.incoming.get(timeout=30)
        if message.get("method") == "workspace/configuration":
            answers = [self.settings.get(item.get("section", "")) for item in message["params"]["items"]]
            self._send({"id": message["id"], "result": answers})
        elif "method" in message and "id" in message:
            self._send({"id": message["id"], "result": None})
        elif message.get("method") == "textDocument/publishDiagnostics":
            self.published[message["params"]["uri"]] = message["params"]["diagnostics"]
        return message

    def open(self, uri: str, text: str) -> None:
        self.tell("textDocument/didOpen", {
            "textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text},
        })  # fmt: skip

    def diagnostics(self, uri: str) -> list[dict[str, Any]]:
        """What the server has to say of an open document."""
        self.published.pop(uri, None)
        while uri not in self.published:
            self._next()
        return self.published[uri]

    def complete(self, uri: str, line: int, character: int) -> set[str]:
        place = {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}
        answer = self.ask("textDocument/completion", place) or []
        return {item["label"] for item in (answer["items"] if isinstance(answer, dict) else answer)}

    def hover(self, uri: str, line: int, character: int) -> str:
        place = {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}
        return json.dumps(self.ask("textDocument/hover", place) or "")
