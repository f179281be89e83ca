"""The view's colours: two sets of its own, and the terminal's own sixteen."""

from __future__ import annotations

from textual.theme import Theme

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CHOICES = ("auto", "light", "dark", "ansi")

DARK = Theme(
    "envkit-dark", primary="#7aa2f7", secondary="#7dcfff", accent="#bb9af7", warning="#e0af68", error="#f7768e",
    success="#9ece6a", foreground="#c8d0e8", background="#16181f", surface="#1c1f29", panel="#262a37", dark=True,
    variables={"block-cursor-background": "#33416a", "block-cursor-foreground": "#ffffff",
               "block-cursor-text-style": "bold"},
)  # fmt: skip
LIGHT = Theme(
    "envkit-light", primary="#1f5fbf", secondary="#00718a", accent="#7b3fb5", warning="#8f5b00", error="#b3261e",
    success="#1c7a33", foreground="#1d2433", background="#fcfcfd", surface="#f2f4f8", panel="#e4e8f0", dark=False,
    variables={"block-cursor-background": "#cfdff8", "block-cursor-foreground": "#0c1426",
               "block-cursor-text-style": "bold"},
)  # fmt: skip
ANSI = "ansi-dark"
"""textual's theme that leaves every colour to the terminal; its cursor is drawn in reverse here, so that it is seen on
light terminals and without colour, too."""


def chosen(asked: str, environ: Mapping[str, str], *, colour: bool) -> str:
    """The theme's name. asked: --theme or ENVKIT_THEME, one of CHOICES. auto: what the terminal says of its background
    (COLORFGBG, "foreground;background", set by rxvt, Konsole and others), else the terminal's own colours."""
    if not colour or asked == "ansi":
        return ANSI
    if asked in ("light", "dark"):
        return f"envkit-{asked}"
    ground = environ.get("COLORFGBG", "").rpartition(";")[2]
    if not ground.isdigit():
        return ANSI
    return LIGHT.name if int(ground) in (7, *range(9, 16)) else DARK.name
