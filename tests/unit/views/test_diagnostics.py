"""Diagnostics and errors as people see them."""

from pathlib import Path

from envkit.diagnostics import Diagnostic, Position, Severity
from envkit.errors import ApplyError, HostError, InputError
from envkit.views.diagnostics import error_json, render_diagnostic, render_error
from envkit.views.terminal import Style

PLAIN = Style(False)


def test_a_diagnostic_shows_its_line_with_a_caret(tmp_path: Path) -> None:
    file = tmp_path / "envkit.yaml"
    file.write_text("services:\n  web:\n    enviroment: {A: b}\n")
    item = Diagnostic(
        Severity.ERROR, "unknown-key", "unknown key", '"enviroment" is not a key of a service',
        Position(str(file), 3, 5), 'did you mean "environment"?',
    )  # fmt: skip
    assert render_diagnostic(item, PLAIN, base=str(tmp_path)) == (
        "error[unknown-key]: unknown key\n"
        "  --> envkit.yaml:3:5\n"
        "     3 |     enviroment: {A: b}\n"
        "       |     ^^^^^^^^^^\n"
        '  "enviroment" is not a key of a service\n'
        '  help: did you mean "environment"?'
    )


def test_a_file_that_is_gone_still_names_the_place() -> None:
    item = Diagnostic(Severity.WARNING, "x", "summary", source=Position("/nowhere/a.yaml", 2, 1))
    assert render_diagnostic(item, PLAIN) == "warning[x]: summary\n  --> /nowhere/a.yaml:2:1"


def test_a_very_long_line_is_cut_around_the_caret(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: " + "x" * 5000 + " culprit\n")
    item = Diagnostic(Severity.ERROR, "x", "summary", source=Position(str(file), 1, 5005), hint="cut it")
    shown = render_diagnostic(item, PLAIN).splitlines()
    assert all(len(line) < 260 for line in shown)
    source, caret = shown[-3], shown[-2]
    assert source[caret.index("^") :].startswith("culprit")


def test_all_problems_of_an_input_error_are_shown_with_a_count() -> None:
    items = [Diagnostic(Severity.ERROR, "a", "first"), Diagnostic(Severity.WARNING, "b", "second")]
    text = render_error(InputError(items), PLAIN)
    assert "error[a]: first" in text
    assert "warning[b]: second" in text
    assert text.splitlines()[-1].startswith("1 problem in the configuration. `envkit explain ")


def test_a_failed_change_names_the_culprit_and_shows_its_log() -> None:
    error = ApplyError(
        "did not become healthy", "3 probes failed", "envkit logs web", address="service.web", log=["a", "b"]
    )
    assert render_error(error, PLAIN) == (
        "error: service.web did not become healthy\n  3 probes failed\n  last lines of its log:\n  | a\n  | b\n"
        "  help: envkit logs web"
    )


def test_a_failed_command_can_be_pasted() -> None:
    error = HostError("crun failed", command=["crun", "create", "a b"], returncode=1, stderr="boom")
    assert "command: crun create 'a b'" in render_error(error, PLAIN)
    assert error_json(error)["stderr"] == "boom"
