"""The contents of secrets and configs, read at the moment of use and kept nowhere (backend/base.Materials)."""

from __future__ import annotations

import os

from envkit.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from envkit.spec.environment import Environment


class ProjectMaterials:
    """What the environment's secrets and configs say. variables: those of the process; all_variables: those of `.env`
    as well, asked for only when a name is not among the first; services: those of the model, as Compose writes them."""

    def __init__(
        self, environment: Environment, variables: Mapping[str, str], all_variables: Callable[[], Mapping[str, str]],
        services: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:  # fmt: skip
        self._environment = environment
        self._variables = variables
        self._all_variables = all_variables
        self._services = services

    def secret(self, name: str) -> bytes:
        """The content of `secrets.NAME`. Raises NotFoundError when its source is gone."""
        return self._content("secret", name)

    def config(self, name: str) -> bytes:
        """The content of `configs.NAME`. Raises NotFoundError when its source is gone."""
        return self._content("config", name)

    def compose_hashes(self) -> dict[str, str]:
        """Service -> the hash by which Docker Compose tells whether a container is still what its file says."""
        from envkit.config.queries import service_hash

        return {name: service_hash(service) for name, service in self._services().items()}

    def _content(self, kind: str, name: str) -> bytes:
        resource = self._environment.get(kind, name)
        if resource is None:
            raise NotFoundError(f"There is no such {kind}", name, f"add it below `{kind}s:`")
        spec: Mapping[str, Any] = resource.spec
        if "content" in spec:
            return str(spec["content"]).encode("utf-8", "surrogateescape")
        if "environment" in spec:
            return self._variable(kind, name, str(spec["environment"]))
        if "file" not in spec:
            raise NotFoundError(f"A {kind} has no content here", f"{kind}s.{name} is external",
                                "give it a file or a variable, or use a backend that keeps it")  # fmt: skip
        try:
            with open(str(spec["file"]), "rb") as file:
                return file.read()
        except OSError as problem:
            raise NotFoundError(f"A {kind} cannot be read", f"{spec['file']}: {os.strerror(problem.errno or 0)}",
                                f"create the file of {kind}s.{name}, or make it readable") from problem  # fmt: skip

    def _variable(self, kind: str, name: str, variable: str) -> bytes:
        value = self._variables.get(variable)
        if value is None:
            value = self._all_variables().get(variable)
        if value is None:
            raise NotFoundError(f"A {kind} cannot be read", f"the variable {variable} is not set",
                                f"set it in the shell or in .env for {kind}s.{name}")  # fmt: skip
        return value.encode("utf-8", "surrogateescape")


class NoMaterials:
    """For work that must not need any, like taking an environment down."""

    def secret(self, name: str) -> bytes:
        raise NotFoundError("There is no such secret", name)

    def config(self, name: str) -> bytes:
        raise NotFoundError("There is no such config", name)
