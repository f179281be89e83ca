"""The shipped schema in an editor: what the yaml-language-server, which VS Code, Neovim and others use, makes of it.

It comes from npm; where there is no npm there is nothing to test, as no part of envkit needs it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envkit.resources import schema_path
from tests.support.language_server import LanguageServer

PACKAGE = "yaml-language-server@1.25.0"
HEALTHY = """\
name: shop
images:
  app:
    from: {debian: bookworm}
    layers:
      - apt: [python3]
      - run: make
        user: app
    command: [python3]
services:
  web:
    image: app
    command: null
    ports: ["8080:80"]
    environment: {A: 1}
    depends_on: {db: {condition: service_healthy}}
    build: .
  db:
    image: postgres:16
    init: "${INIT:-true}"
volumes: {data: }
"""

if shutil.which("npm"):

    @pytest.fixture(scope="module")
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
        directory = tmp_path_factory.mktemp("npm")
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), PACKAGE]
        subprocess.run(command, check=True, timeout=180)
        program = str(directory / "node_modules/.bin/yaml-language-server")
        schema = Path(schema_path("environment")).as_uri()
        settings = {"yaml": {"schemas": {schema: "*envkit.yaml"}, "validate": True, "completion": True, "hover": True}}
        with LanguageServer([program, "--stdio"], settings) as running:
            yield running

    def opened(server: LanguageServer, name: str, text: str) -> str:
        uri = f"file:///project-{name}/envkit.yaml"
        server.open(uri, text)
        return uri

    def test_a_healthy_file_has_no_problems(server: LanguageServer) -> None:
        assert server.diagnostics(opened(server, "healthy", HEALTHY)) == []

    @pytest.mark.parametrize(
        ("wrong", "right", "line", "message"),
        [
            ("    imagee: app\n", "    image: app\n", 11, "Property imagee is not allowed."),
            ("      - run: make\n        owner: app\n", "      - run: make\n        user: app\n", 7,
             "Property owner is not allowed."),
            ("condition: healthy", "condition: service_healthy", 15, "Value is not accepted. Valid values: "),
            ("    ports: 8080\n", '    ports: ["8080:80"]\n', 13, 'Incorrect type. Expected "array".'),
            ("from: {debain: bookworm}", "from: {debian: bookworm}", 3, "Property debain is not allowed."),
        ],
    )  # fmt: skip
    def test_a_mistake_is_reported_where_it_is(
        server: LanguageServer, wrong: str, right: str, line: int, message: str
    ) -> None:
        text = HEALTHY.replace(right, wrong, 1)
        found = server.diagnostics(opened(server, str(abs(hash(wrong))), text))
        assert (line, message) in [(item["range"]["start"]["line"], item["message"][: len(message)]) for item in found]
        assert {item["range"]["start"]["line"] for item in found} == {line}

    def test_keys_are_completed(server: LanguageServer) -> None:
        uri = opened(server, "completion", "services:\n  web:\n    \nimages:\n  app:\n    layers:\n      - \n")
        assert {"image", "ports", "healthcheck", "allow"} <= server.complete(uri, 2, 4)
        assert {"apt", "copy", "run", "files"} <= server.complete(uri, 6, 8)

    def test_values_are_completed(server: LanguageServer) -> None:
        text = "services:\n  web:\n    depends_on:\n      db:\n        condition: \n"
        found = server.complete(opened(server, "values", text), 4, 19)
        assert {"service_started", "service_healthy", "service_completed_successfully"} <= found

    def test_a_key_is_explained(server: LanguageServer) -> None:
        uri = opened(server, "hover", HEALTHY)
        assert "python3" in server.hover(uri, 5, 9) or "Packages" in server.hover(uri, 5, 9)
        assert "Ports to publish" in server.hover(uri, 13, 6)
