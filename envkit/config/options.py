"""What to load, and how much of the pipeline to run. Standard library only."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO


class LoadOptions:
    """directory: where the command runs; files: `-f` in order, `-` is stdin (none: they are looked up);
    project_name: `-p`; profiles: `--profile`; env_files: `--env-file`; project_directory: `--project-directory`;
    services: those named on the command line (their profiles become active, the rest of the model is cut to them and
    what they depend on); environ: the process's environment. The booleans are the flags of `config` with these names.
    all_resources: keep networks, volumes, secrets and configs that no service uses. target: `--target`, a place of
    `targets:`; backend: where it will run if no target says so, which some checks depend on.
    """

    __slots__ = (
        "all_resources", "backend", "directory", "env_files", "environ", "files", "no_consistency", "no_env_resolution",
        "no_interpolate", "no_normalize", "no_path_resolution", "profiles", "project_directory", "project_name",
        "services", "stdin", "target",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 the fields of a value
        self, directory: str, files: tuple[str, ...] = (), project_name: str = "", profiles: tuple[str, ...] = (),
        env_files: tuple[str, ...] = (), project_directory: str = "", services: tuple[str, ...] = (),
        environ: Mapping[str, str] | None = None, stdin: TextIO | None = None, *, no_interpolate: bool = False,
        no_normalize: bool = False, no_path_resolution: bool = False, no_env_resolution: bool = False,
        no_consistency: bool = False, all_resources: bool = False, target: str = "",
        backend: str = "",
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
        self.no_interpolate = no_interpolate
        self.no_normalize = no_normalize
        self.no_path_resolution = no_path_resolution
        self.no_env_resolution = no_env_resolution
        self.no_consistency = no_consistency
        self.all_resources = all_resources
        self.target = target
        self.backend = backend
