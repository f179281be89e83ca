"""From the command line's options to the Environment: out of the cache where it holds, compiled otherwise."""

from __future__ import annotations

from envkit.config import cache
from envkit.config.inputs import Inputs
from envkit.config.keyed import ensure_salt, read_salt
from envkit.config.materials import ProjectMaterials
from envkit.config.sources import Sources
from envkit.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from envkit.config.inputs import Asked
    from envkit.config.model import Model
    from envkit.config.options import LoadOptions
    from envkit.host.home import Home
    from envkit.spec.environment import Environment


class Loaded:
    """environment; materials: the contents of its secrets and configs; model: loaded when first asked for (a hit in the
    cache has none); from_cache: whether it was a hit; inputs: what was asked while it was compiled."""

    def __init__(self, environment: Environment, options: LoadOptions, model: Model | None, inputs: Inputs) -> None:
        self.environment = environment
        self.inputs = inputs
        self.from_cache = model is None
        self._options = options
        self._model = model
        self.materials = ProjectMaterials(
            environment, options.environ, lambda: self.model.environ, lambda: self.model.services
        )

    @property
    def model(self) -> Model:
        """The Compose model. Raises InputError."""
        if self._model is None:
            from envkit.config.load import load_model

            self._model = load_model(self._options)
        return self._model


def load_environment(
    options: LoadOptions, home: Home, *, write_cache: bool = False, tolerant: bool = False,
    held: Mapping[Asked, str] | None = None,
) -> Loaded:  # fmt: skip
    """The Environment of the files. Raises InputError with every problem.

    write_cache: this command may write below home (apply): the salt is made, and what was compiled is kept. Without it
    nothing is written. tolerant: missing files (secrets, build inputs, bind sources) are no errors, for commands that
    only look or take away; the result is neither kept nor fit to be applied. held: compile in any case, and take these
    digests of build inputs for granted.
    """
    if write_cache:
        ensure_salt(home)
    salt = read_salt(home)
    cached = salt is not None and "-" not in options.files and not tolerant
    path = cache.entry_path(options, home) if cached else ""
    if cached and held is None:
        inputs = Inputs(home, salt, Sources(), write=write_cache)
        found = cache.read(path, options.environ, inputs)
        if found is not None:
            return Loaded(found, options, None, inputs)
    from envkit.config.compile import compile_environment
    from envkit.config.load import load_model

    try:
        model = load_model(options)
    except InputError as error:
        if tolerant or "-" in options.files:
            raise
        from envkit.config.survey import survey

        raise InputError(survey(options, home, error.diagnostics)) from None
    inputs = Inputs(home, salt, model.sources, write=write_cache, held=held)
    environment = compile_environment(model, home, inputs=inputs, tolerant=tolerant)
    if cached and write_cache and "-" not in model.files and model.sources.lasting:
        cache.write(path, environment, options.environ, inputs)
    return Loaded(environment, options, model, inputs)
