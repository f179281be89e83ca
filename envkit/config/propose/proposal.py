"""What a proposal is, and the remarks that it collects."""

from __future__ import annotations

from envkit.values import field, struct, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    Kind = Literal["changed", "kept", "check", "left out"]


@value
class Note:
    """About one thing (`service.web`, `image.web`). kind: changed: it is written in another way; kept: it stays as it
    is, and why; check: what a person should look at; left out: what the YAML does not say."""

    kind: Kind
    subject: str
    text: str


@struct
class Draft:
    """The document while it is worked on. secrets: file below the project -> content, to be written with 0600."""

    document: Any
    notes: list[Note] = field(default_factory=list)
    secrets: dict[str, bytes] = field(default_factory=dict)

    def note(self, kind: Kind, subject: str, text: str) -> None:
        self.notes.append(Note(kind, subject, text))

    def section(self, name: str) -> Any:
        """A section of the document, made where there is none."""
        from envkit.config.propose.document import tree

        if not self.document.get(name):
            place = list(self.document).index("services") if name == "images" else len(self.document)
            if name in self.document:
                del self.document[name]
            self.document.insert(place, name, tree({}))
        return self.document[name]


@value
class Proposal:
    """text: of the envkit.yaml; secrets: as in Draft; differences: rows of differences.compare."""

    text: str
    notes: tuple[Note, ...]
    secrets: dict[str, bytes]
    differences: tuple[Any, ...] = ()
