#!/usr/bin/env python3
"""Tells its own name, and the words that were left in a directory that all replicas share."""

import http.server
import os
import socket

SHARED = "/shared"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(f"{socket.gethostname()}: {' '.join(sorted(os.listdir(SHARED)))}\n")

    def do_POST(self) -> None:
        word = self.rfile.read(int(self.headers["Content-Length"])).decode().partition("=")[2]
        with open(os.path.join(SHARED, os.path.basename(word)), "w", encoding="utf-8"):
            pass
        self._answer("kept\n")

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
