"""A plan as people see it."""

from envkit.address import Address
from envkit.plan.model import Action, AttributeChange, Change, Effect, Plan
from envkit.views.plan import render_plan
from envkit.views.terminal import Style

PLAIN = Style(False)
WEB = Address("service", "web")


def test_no_change_is_exactly_one_line() -> None:
    plan = Plan("shop", (Change(WEB, Action.NOOP),))
    assert render_plan(plan, PLAIN, files=["/p/envkit.yaml"]) == "No changes. The environment matches envkit.yaml."


def test_an_attribute_shows_both_values_its_source_and_its_price() -> None:
    change = Change(
        WEB, Action.REPLACE, "replaced because environment.LEVEL changed",
        (AttributeChange("environment.LEVEL", "info", "debug", "/p/envkit.yaml:14:7", Effect.REPLACE),
         AttributeChange("limits.memory", None, 1024, "", Effect.IN_PLACE)),
    )  # fmt: skip
    assert render_plan(Plan("shop", (change,)), PLAIN, base="/p") == (
        "Will change:\n"
        "  -/+ service.web  # replaced because environment.LEVEL changed\n"
        '        ~ environment.LEVEL  "info" -> "debug"  # envkit.yaml:14:7, forces replacement\n'
        "        + limits.memory      1024  # in place\n"
        "\n"
        "Plan: 1 to replace."
    )


def test_drift_and_intent_are_two_sections() -> None:
    drift = Change(
        WEB, Action.UPDATE, "it was stopped", (AttributeChange("state", "running", "exited", effect=Effect.NONE),)
    )
    plan = Plan("shop", (Change(WEB, Action.UPDATE, "started again"),), (drift,))
    text = render_plan(plan, PLAIN)
    assert text.index("Changed outside envkit:") < text.index("Will change:")
    assert text.endswith("Plan: 1 to update. 1 drifted.")


def test_losing_data_is_said_loudly() -> None:
    plan = Plan("shop", (Change(Address("volume", "data"), Action.DELETE, "asked for", loses_data=True),))
    text = render_plan(plan, PLAIN)
    assert "LOSES DATA" in text
    assert text.endswith("Plan: 1 to delete. 1 would lose data.")


def test_sensitive_values_are_shown_as_what_they_are() -> None:
    change = Change(
        WEB, Action.REPLACE, "", (AttributeChange("secrets.key", "(sensitive value)", "(sensitive value)"),)
    )
    assert "(sensitive value) -> (sensitive value)" in render_plan(Plan("shop", (change,)), PLAIN)


def test_an_image_shows_its_layers() -> None:
    change = Change(Address("image", "app"), Action.UPDATE, "built again because layers[1] changed")
    layers = {"app": [
        {"number": 1, "title": "apt nginx", "cached": True, "reason": "it was made before"},
        {"number": 2, "title": "run make " + "x" * 80, "cached": False, "reason": "its inputs are new"},
    ]}  # fmt: skip
    text = render_plan(Plan("shop", (change,)), PLAIN, layers=layers)
    assert "        = layer 1: apt nginx\n" in text
    assert f"        + layer 2: run make {'x' * 60}…  # its inputs are new\n" in text
