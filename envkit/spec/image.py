"""`images:` of an envkit.yaml: what an image starts from, its layers and its configuration.

Each item of `layers:` is one layer; the first of the keys in LAYER_KINDS that it has says which kind it is.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from envkit.spec.service import Healthcheck
from envkit.spec.vocabulary import AbsolutePath, Keywords, MapOrSet, Mode, Section, TextOrTexts, Texts, key

ImagePath = AbsolutePath
Owner = str | int
Command = str | Texts
Digest = Annotated[
    str, Field(pattern=r"^([0-9a-f]{64}|.*\$.*)$"),
    Keywords(patternErrorMessage="must have 64 hex digits, as `sha256sum` prints them"),
]  # fmt: skip
UserName = Annotated[
    str, Field(pattern=r"^([a-z_][a-z0-9_-]{0,30}|.*\$.*)$"),
    Keywords(patternErrorMessage="must have lower-case letters, digits, `_` and `-`, beginning with a letter"),
]  # fmt: skip


class DebianBase(Section):
    """A root made from Debian packages alone."""

    extensible: ClassVar[bool] = False
    debian: str = key("The suite.", "bookworm", "trixie", required=True)
    variant: Literal["essential", "apt", "minbase", "standard"] | None = key(
        "Which packages it starts with: essential has no apt.", default="minbase"
    )
    packages: Texts | None = key("Further packages.", ["ca-certificates"])


class ImageBase(Section):
    extensible: ClassVar[bool] = False
    image: str = key("Another key below `images:`.", "base", required=True)


class LayoutBase(Section):
    extensible: ClassVar[bool] = False
    oci: str = key("An OCI image layout, a directory of the project.", "./images/base", required=True)
    tag: str | None = key("Which image of the layout; needed when it has several.", "1.2")


class ArchiveBase(Section):
    extensible: ClassVar[bool] = False
    archive: str = key("A docker or OCI archive, a file of the project.", "./images/base.tar", required=True)
    tag: str | None = key("Which image of the archive; needed when it has several.", "base:1.2")


class ReferenceBase(Section):
    extensible: ClassVar[bool] = False
    reference: str = key("An image of a registry or of the store.", "debian:bookworm-slim", required=True)


class DockerfileBase(Section):
    extensible: ClassVar[bool] = False
    dockerfile: str = key("A Dockerfile of the project.", "./Dockerfile", required=True)
    context: str | None = key("The directory that COPY reads from; the Dockerfile's own when absent.", ".")
    target: str | None = key("The stage to build.", "production")
    args: MapOrSet | None = key("Values for ARG.", {"VERSION": "1.2"})


BASES = (DebianBase, ImageBase, LayoutBase, ArchiveBase, ReferenceBase, DockerfileBase)


class Layer(Section):
    extensible: ClassVar[bool] = False


class AptLayer(Layer):
    """Debian packages."""

    apt: TextOrTexts = key("Packages, NAME or NAME=VERSION.", ["python3", "python3-flask"], required=True)
    recommends: bool | None = key("Install what they recommend, too.", default=False)


class PipLayer(Layer):
    """Python distributions."""

    pip: TextOrTexts = key("Distributions, as pip reads them.", ["gunicorn==23.0.0"], required=True)
    requirements: str | None = key("A requirements file of the project.", "./requirements.txt")
    venv: ImagePath | None = key("Install into a virtual environment made there.", "/opt/venv")


class NpmLayer(Layer):
    """Node packages."""

    npm: TextOrTexts = key("Packages to install globally; or a project directory when `to` is given.",
                           ["typescript@5"], "./frontend", required=True)  # fmt: skip
    to: ImagePath | None = key("Where the project's packages are installed.", "/srv/frontend")
    dev: bool | None = key("With development dependencies.", default=False)


class CopyLayer(Layer):
    """Files of the project, or of another image."""

    copy_: TextOrTexts = key(
        "Files or directories of the project; a directory's content is copied. .dockerignore and .envkitignore count.",
        "./app", required=True, alias="copy",
    )  # fmt: skip
    to: ImagePath = key("Where they go; with a `/` at its end it is a directory.", "/srv/app", required=True)
    from_: str | None = key("Copy from this image instead: a key below `images:` or a reference.", alias="from")
    owner: Owner | None = key("USER or USER:GROUP.", "app:app", default="root:root")
    mode: Mode | None = key("Permissions of the files, octal.", "0644")
    exclude: Texts | None = key("Patterns of files to leave out.", ["**/*.pyc"])


class FileContent(Section):
    """One file of a `files` layer."""

    extensible: ClassVar[bool] = False
    conditions: ClassVar[dict[str, Any]] = {"anyOf": [{"required": ["content"]}, {"required": ["file"]}]}
    content: str | None = key("The file's content.", "workers = 2\n")
    file: str | None = key("A file of the project to copy.", "./app.ini")
    mode: Mode | None = key("Permissions, octal.", default="0644")
    owner: Owner | None = key("USER or USER:GROUP.", default="root:root")


class FilesLayer(Layer):
    """Files with a given content."""

    files: dict[ImagePath, str | FileContent] = key(
        "Path in the image: content, or the long form.", {"/etc/app.ini": {"content": "workers = 2\n"}}, required=True
    )


class ArchiveLayer(Layer):
    """A tar or zip archive, unpacked."""

    archive: str = key("A file of the project, or an https URL.", "./vendor/tool.tar.gz", required=True)
    to: ImagePath = key("The directory to unpack into.", "/opt/tool", required=True)
    sha256: Digest | None = key("The archive's SHA-256; a URL needs it.")
    strip: Annotated[int, Field(ge=0)] | None = key("Leading path components to drop.", 1, default=0)
    owner: Owner | None = key("USER or USER:GROUP.", default="root:root")


class UserEntry(Section):
    """A user, and a group for it."""

    extensible: ClassVar[bool] = False
    name: UserName = key("Its name.", "app", required=True)
    uid: Annotated[int, Field(ge=0, le=4294967294)] | None = key("Its number; the next free one when absent.", 1000)
    gid: Annotated[int, Field(ge=0, le=4294967294)] | None = key("Its group's number; the uid when absent.", 1000)
    group: str | None = key("Its group's name; its own when absent.", "app")
    groups: Texts | None = key("Further groups, which the image has.", ["video"])
    home: ImagePath | None = key("Its home directory, which is made.", "/home/app")
    shell: ImagePath | None = key("Its shell.", default="/usr/sbin/nologin")


class UserLayer(Layer):
    """A user."""

    user: str | UserEntry = key("Its name, or the long form.", {"name": "app", "uid": 1000}, required=True)


class LinkLayer(Layer):
    """Symbolic links."""

    link: dict[ImagePath, str] = key("Path in the image: target.", {"/usr/bin/python": "python3"}, required=True)


class RemoveLayer(Layer):
    """Files taken away."""

    remove: TextOrTexts = key("Paths in the image; * and ? match within one directory.", ["/usr/share/doc/*"],
                              required=True)  # fmt: skip


class BuildMount(Section):
    extensible: ClassVar[bool] = False
    from_: str = key("A file or directory of the project.", "./src", required=True, alias="from")
    to: ImagePath = key("Where the command sees it, read-only.", "/src", required=True)


class RunLayer(Layer):
    """What a command changes."""

    run: Command = key("A shell script, or a list of arguments.", "make install", required=True)
    environment: MapOrSet | None = key("Variables of this command alone.", {"CFLAGS": "-O2"})
    user: str | int | None = key("Who runs it.", "app", default="root")
    workdir: ImagePath | None = key("Where it runs.", default="/")
    network: Literal["default", "none"] | None = key("The network it has.", default="default")
    cache: list[ImagePath] | None = key("Directories kept between builds, never part of the layer.", ["/root/.cache"])
    secrets: Texts | None = key("Keys below `secrets:`, files in /run/secrets while it runs.", ["npm_token"])
    mounts: list[BuildMount] | None = key("Files of the project that it needs.", [{"from": "./src", "to": "/src"}])


LAYERS = (
    AptLayer, PipLayer, NpmLayer, CopyLayer, FilesLayer, ArchiveLayer, UserLayer, LinkLayer, RemoveLayer, RunLayer,
)  # fmt: skip
LAYER_KINDS = ("apt", "pip", "npm", "copy", "files", "archive", "link", "remove", "run", "user")
BASE_KINDS = ("debian", "image", "oci", "archive", "reference", "dockerfile")

AnyLayer = Annotated[
    AptLayer | PipLayer | NpmLayer | CopyLayer | FilesLayer | ArchiveLayer | LinkLayer | RemoveLayer | RunLayer
    | UserLayer, Keywords(kinds=LAYER_KINDS),
]  # fmt: skip
AnyBase = Annotated[
    DebianBase | ImageBase | LayoutBase | ArchiveBase | ReferenceBase | DockerfileBase, Keywords(kinds=BASE_KINDS)
]


class Image(Section):
    """An image that envkit builds."""

    from_: str | AnyBase = key(
        "What it starts from: scratch, another key below `images:`, a reference, or a mapping.", {"debian": "bookworm"},
        "scratch", alias="from", required=True,
    )  # fmt: skip
    layers: list[AnyLayer] | None = key("Its layers, each cached by its inputs.", [{"apt": ["python3"]}])
    user: str | int | None = key("Who the process is.", "app")
    workdir: ImagePath | None = key("The directory that it starts in.", "/srv/app")
    environment: MapOrSet | None = key("Variables, each with a value.", {"PYTHONUNBUFFERED": "1"})
    entrypoint: Command | None = key("What is run, before the command. A string is split like a shell does.")
    command: Command | None = key("What is run, or the entrypoint's arguments.", ["python3", "-m", "app"])
    labels: MapOrSet | None = key("Labels of the image.")
    expose: list[str | int] | None = key("Ports that it listens on.", ["5000"])
    volumes: list[ImagePath] | None = key("Directories that hold data.", ["/var/lib/app"])
    stop_signal: str | None = key("The signal that asks it to end.", "SIGINT", default="SIGTERM")
    healthcheck: Healthcheck | None = key("How to tell that it works.")
    platform: str | None = key("os/architecture.", "linux/amd64")
