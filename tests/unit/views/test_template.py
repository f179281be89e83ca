"""The part of Go's templates that --format understands."""

from __future__ import annotations

import json

import pytest

from envkit.views.compose import span
from envkit.views.template import Template, formatted
from envkit.views.terminal import Style

ROW = {"Name": "web-1", "State": "running", "Ports": [1, 2], "Up": True, "Labels": {"tier": "front"}, "Code": 0}
PLAIN = Style(False)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.Name}}", "web-1"), ("{{ .Name }} is {{.State}}", "web-1 is running"), ("{{upper .State}}", "RUNNING"),
        ("{{.State | upper | lower}}", "running"), ("{{json .Ports}}", "[1,2]"), ("{{.Ports}}", "[1 2]"),
        ("{{.Labels.tier}}", "front"), ("{{.Up}}", "true"), ('{{join (split .Name "-") "/"}}', None),
        ('{{if eq .State "running"}}yes{{else}}no{{end}}', "yes"), ("{{if .Code}}bad{{else}}good{{end}}", "good"),
        ("{{if .Up}}up{{end}}", "up"), ("a {{- .Name -}} b", "aweb-1b"), ('{{"text"}}', "text"), ("{{`raw`}}", "raw"),
        ("{{len .Ports}}", "2"), ("{{truncate .Name 3}}", "web"), ("{{not .Up}}", "false"), ("no fields", "no fields"),
        ("{{.Labels}}", "map[tier:front]"), ("{{title .State}}", "Running"), ("{{println .Name}}", "web-1\n"),
    ],
)  # fmt: skip
def test_a_template_is_filled_in(template: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="not defined"):
            Template(template).render(ROW)
    else:
        assert Template(template).render(ROW) == expected


@pytest.mark.parametrize(
    "template",
    ["{{.Nothing}}", "{{", "{{}}", "{{end}}", "{{if .Up}}", "{{range .Ports}}{{end}}", "{{explode .Name}}",
    "{{.Name | }}",
     "{{upper}}", "{{.Name.First}}"],
)  # fmt: skip
def test_what_cannot_be_read_is_an_error(template: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Template(template).render(ROW)


def test_forms() -> None:
    rows = [ROW, {**ROW, "Name": "db-1"}]
    assert [json.loads(line)["Name"] for line in formatted("json", rows, PLAIN, ()).splitlines()] == ["web-1", "db-1"]
    assert formatted("{{.Name}}", rows, PLAIN, ()) == "web-1\ndb-1"
    assert formatted("table {{.Name}}\\t{{.State}}", rows, PLAIN, ()).splitlines() == [
        "NAME   STATE", "web-1  running", "db-1   running",
    ]  # fmt: skip
    assert formatted("table", rows, PLAIN, ("Name", "Code")).splitlines()[0] == "NAME   CODE"
    assert formatted("json", [], PLAIN, ()) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (61, "About a minute"), (300, "5 minutes"),
     (3700, "About an hour"), (7300, "2 hours"), (200000, "2 days")],
)  # fmt: skip
def test_spans_are_in_dockers_words(seconds: float, text: str) -> None:
    assert span(seconds) == text
