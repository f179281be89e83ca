"""What to load, and how much of the pipeline to run. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO


class LoadOptions:
    """directory: where the command runs; files: `-f` in order, `-` is stdin (none: they are looked up);
    project_name: `-p`; profiles: `--profile`; env_files: `--env-file`; project_directory: `--project-directory`;
    services: those named on the command line (their profiles become active, the rest of the model is cut to them and
    what they depend on); environ: the process's environment. The booleans switch phases off, as Compose's
    `--no-interpolate`, `--no-normalize`, `--no-path-resolution`, `--no-env-resolution` and `--no-consistency` do.
    all_resources: keep networks, volumes, secrets and configs that no service uses.
    """

    __slots__ = (
        "all_resources", "consistency", "directory", "env_files", "environ", "files", "interpolate", "normalize",
        "profiles", "project_directory", "project_name", "resolve_environment", "resolve_paths", "services", "stdin",
    )  # fmt: skip

    def __init__(
        self, directory: str, files: tuple[str, ...] = (), project_name: str = "", profiles: tuple[str, ...] = (),
        env_files: tuple[str, ...] = (), project_directory: str = "", services: tuple[str, ...] = (),
        environ: Mapping[str, str] | None = None, stdin: TextIO | None = None, *, interpolate: bool = True,
        normalize: bool = True, resolve_paths: bool = True, resolve_environment: bool = True, consistency: bool = True,
        all_resources: bool = False,
    ) -> None:  # fmt: skip
        self.directory = directory
        self.files = files
        self.project_name = project_name
        self.profiles = profiles
        self.env_files = env_files
        self.project_directory = project_directory
        self.services = services
        self.environ: Mapping[str, str] = {} if environ is None else environ
        self.stdin = stdin
        self.interpolate = interpolate
        self.normalize = normalize
        self.resolve_paths = resolve_paths
        self.resolve_environment = resolve_environment
        self.consistency = consistency
        self.all_resources = all_resources
