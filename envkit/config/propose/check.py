"""A draft becomes a proposal: written out, compiled as it would be, compared with what was."""

from __future__ import annotations

import os

from envkit.config.inputs import Inputs
from envkit.config.keyed import read_salt
from envkit.config.load import load_model
from envkit.config.options import LoadOptions
from envkit.config.propose import document as documents
from envkit.config.propose.differences import compare
from envkit.config.propose.proposal import Proposal
from envkit.config.propose.services import conditions, harden
from envkit.config.sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from envkit.config.model import Model
    from envkit.config.propose.proposal import Draft
    from envkit.host.home import Home
    from envkit.spec.environment import Environment


def with_options(options: LoadOptions, **changed: Any) -> LoadOptions:
    """The options with some of them changed."""
    values = {name: getattr(options, name) for name in options.__slots__}
    return LoadOptions(**{**values, **changed})


def options_for(options: LoadOptions, files: Sequence[str]) -> LoadOptions:
    """The options with these files, and the target and services of none."""
    return with_options(options, files=tuple(files), target="", services=())


def compiled(model: Model, home: Home) -> Environment:
    """The Environment of a model whose files need not be there yet. Raises InputError."""
    from envkit.config.compile import compile_environment

    return compile_environment(model, home, inputs=Inputs(home, read_salt(home), model.sources), tolerant=True)


def finished(draft: Draft, options: LoadOptions, home: Home, output: str, before: Environment | None) -> Proposal:
    """The draft as the text of output, which compiles. Raises InputError where it does not."""
    text = documents.write(draft.document, output)
    after = _given(draft, text, options, home, output)
    rows = compare(before, after) if before else []
    return Proposal(text, tuple(draft.notes), draft.secrets, tuple(rows))


def hardened(draft: Draft, options: LoadOptions, home: Home, output: str) -> Proposal:
    """A draft of containers, as a compose file would have them, with what an envkit.yaml should say besides."""
    directory = os.path.dirname(output)
    place = os.path.join(directory, "compose.yaml")
    before = _given(draft, documents.write(draft.document, place), options, home, place)
    services = draft.document["services"]
    for name, service in services.items():
        image = str(service.get("image") or "").replace("$$", "$")
        harden(draft, name, service, image, directory)
    conditions(draft, services)
    return finished(draft, options, home, output, before)


def _given(draft: Draft, text: str, options: LoadOptions, home: Home, place: str) -> Environment:
    directory = os.path.dirname(place)
    files = {os.path.join(directory, path): content for path, content in draft.secrets.items()}
    sources = _Given({**files, place: text.encode()})
    return compiled(load_model(with_options(options, files=(place,)), sources=sources), home)


class _Given(Sources):
    """Sources with files that are not written yet."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        super().__init__()
        self._contents = contents

    def read(self, path: str) -> bytes:
        return self._contents[path] if path in self._contents else super().read(path)

    def look(self, path: str) -> str:
        return "file" if path in self._contents else super().look(path)
