"""The port to a runtime.

Contract: a call is about the state afterwards. `apply(change)` means "it is so now": repeating it is harmless, and
deleting what is absent succeeds. `observe` never writes. Errors are EnvkitError subclasses.
"""

from __future__ import annotations

from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from threading import Event as Flag
    from typing import IO, Any, Protocol, TypeAlias

    from envkit.address import Address
    from envkit.diagnostics import Diagnostic
    from envkit.events import Emit
    from envkit.observed.state import Instance, ObservedState
    from envkit.plan.model import Change
    from envkit.spec.environment import Condition, Environment
else:
    Protocol = object


class Materials(Protocol):
    """Reads what must not be in a plan: called by backends at the moment of use."""

    def secret(self, name: str) -> bytes:
        """The content of `secrets.NAME`. Raises NotFoundError when its source is gone."""

    def config(self, name: str) -> bytes:
        """The content of `configs.NAME`. Raises NotFoundError when its source is gone."""


@value
class Capabilities:
    """What a backend does on this machine.

    expands_replicas: the planner plans each replica on its own. in_place: paths of a ServiceSpec (globs allowed) that
    it changes without replacing; restart: paths that need a restart only. Both are asked for drift as well
    (`state`, `published.8080/tcp`, `networks.default.address`), and a glob means its path and everything below it.
    check: the diagnostics for what this environment asks and the backend cannot do. kinds: the resources that are
    objects of their own here and so have changes of their own; the others (secrets and configs, as a rule) are parts
    of the services that use them. alone: what keeps a new instance of this ServiceSpec from living beside the old one,
    as (path, why); where there is anything, `update_config.order: start-first` is planned as stop-first.
    """

    backend: str
    expands_replicas: bool = True
    in_place: frozenset[str] = frozenset()
    restart: frozenset[str] = frozenset()
    check: Callable[[Environment], Sequence[Diagnostic]] = lambda environment: ()
    kinds: frozenset[str] = frozenset({"image", "network", "volume", "service"})
    alone: Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]] = lambda spec: ()


Done: TypeAlias = "Callable[[Change, BaseException | None], None]"


class Session(Protocol):
    """The writing side of a backend for one environment, holding its lock while open."""

    def apply(self, changes: Sequence[Change], done: Done) -> None:
        """Carry out a batch of changes that do not depend on one another, as fast as the runtime can.

        `done(change, error)` is called exactly once per change, from any thread, as soon as it is so. Raises nothing
        for a single change's failure. Called from several threads at a time. Emits PROGRESS, LOG and WARNING at most:
        STARTED, WAITING, DONE, FAILED and SKIPPED are the reconciler's.

        A REPLACE_START_FIRST makes the new instance beside the old one, which serves until the new one is healthy (or,
        without a health check, has run for a while) and has taken over its names and ports; then its connections may
        end, and it goes. A new instance that fails leaves nothing, and the old one goes on serving. A REPLACE of a
        service with `update` fails as well when the new instance does not become healthy, or ends within `monitor`.

        An UPDATE whose attributes have the effect RESTART leaves the instance running anew (started when it was not);
        afterwards the object carries `change.resource`'s spec and fingerprint, as after CREATE and REPLACE.
        """

    def announce(self, changes: Sequence[Change]) -> None:
        """What apply() will be given from now on, all of it. What only the plan knows is written down: an instance that
        is to be restarted for another's sake must be so even if this process ends before."""

    def wait(self, address: Address, condition: Condition, cancelled: Flag) -> None:
        """Return when every replica of the service meets the condition (an address with an index: that one alone).

        Raises ApplyError naming the address, with its last log lines, when it no longer can; returns early (without
        error) when cancelled is set.
        """

    def is_current(self, since: float) -> bool:
        """Whether nobody else has held the environment's lock since then (seconds since the epoch)."""


@value
class LogQuery:
    """services: empty for all; since/until: seconds since the epoch; tail: lines per instance, None for all."""

    services: tuple[str, ...] = ()
    follow: bool = False
    tail: int | None = None
    since: float | None = None
    until: float | None = None
    replica: int | None = None


@value
class LogEntry:
    """One line without its newline; time: RFC 3339 with nanoseconds; stream: stdout or stderr."""

    service: str
    replica: int
    time: str
    stream: str
    line: str


@value
class ExecRequest:
    """A process in a running instance. tty: give it a terminal (the caller's stdin is one); stdin: pass the caller's
    stdin on. environment adds to the instance's."""

    address: Address
    argv: tuple[str, ...]
    tty: bool = False
    stdin: bool = True
    detach: bool = False
    user: str = ""
    working_dir: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    privileged: bool = False


@value
class RunRequest:
    """A one-off container of a service. argv empty: the service's command. ports: publish the service's ports too."""

    service: str
    argv: tuple[str, ...] = ()
    tty: bool = False
    stdin: bool = True
    detach: bool = False
    remove: bool = True
    user: str = ""
    working_dir: str = ""
    entrypoint: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    service_ports: bool = False
    publish: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    use_aliases: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()


@value
class VolumeInfo:
    """One row of `volume ls`. used_by: "ENVIRONMENT/ADDRESS" texts; size in bytes, None when not measured."""

    name: str
    key: str
    environment: str
    path: str
    driver: str
    used_by: tuple[str, ...]
    size: int | None = None


@value
class SnapshotInfo:
    """What a volume held at one moment. taken: seconds since the epoch; bytes and files: what it holds; reason: why it
    was taken, "" when somebody asked for it; automatic: nobody did; paused: its writers stood still meanwhile; shared:
    how many of the files share their blocks with the volume's, and so take no space of their own; vanished: how many
    went while they were copied."""

    volume: str
    name: str
    key: str
    environment: str
    taken: float
    bytes: int
    files: int
    reason: str = ""
    automatic: bool = False
    paused: bool = False
    shared: int = 0
    vanished: int = 0


@value
class Filled:
    """A volume's content was replaced. bytes and files: what it holds now; former: the snapshot of what it held before,
    None when that was nothing; lost: what could not be kept of an archive, one line each; restarted: the services that
    were stopped for it, and started again."""

    volume: str
    bytes: int
    files: int
    former: SnapshotInfo | None = None
    lost: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()


class VolumeData(Protocol):
    """What can be done with the content of volumes. Each call is atomic: cut off or failed, the volume and its
    snapshots are as they were. name is a volume's, snapshot one of its snapshots'. All raise NotFoundError, HostError.
    """

    def snapshots(self, name: str | None = None) -> list[SnapshotInfo]:
        """Those of a volume (it need not be there any more), or all."""

    def take(
        self, name: str, snapshot: str = "", *, pause: bool = False, emit: Emit, lock_timeout: float | None = None
    ) -> SnapshotInfo:
        """Copy the volume's content. snapshot: "" for a name made of the time. pause: freeze every running instance
        that has the volume meanwhile. Raises ConflictError when there is one of that name."""

    def restore(
        self, name: str, snapshot: str, *, stop: bool = False, emit: Emit, lock_timeout: float | None = None
    ) -> Filled:
        """Give the volume the content of a snapshot; what it held becomes a snapshot. A volume that is no more is made
        again as it was. stop: stop running instances that have it, and start them afterwards. Raises ConflictError
        while there are any."""

    def remove(self, name: str, snapshot: str) -> None:
        """Destroy a snapshot."""

    def export(self, name: str, snapshot: str = "", *, pause: bool = False) -> tuple[Iterator[bytes], list[str]]:
        """(a tar archive of the content, or of a snapshot's; what could not be kept, filled while it is read)."""

    def load(
        self, name: str, source: IO[bytes], *, stop: bool = False, emit: Emit, lock_timeout: float | None = None
    ) -> Filled:
        """Like restore, from a tar archive, compressed or not. Raises ImageError for one that is damaged or hostile."""


@value
class Usage:
    """One row of `stats`. cpu: cores in use; sizes in bytes; memory_limit 0: none."""

    address: str
    cpu: float
    memory: int
    memory_limit: int
    pids: int
    net_rx: int
    net_tx: int
    block_read: int
    block_write: int


class Backend(Protocol):
    """A runtime, as the reconciler and the commands see it."""

    name: str

    def capabilities(self) -> Capabilities: ...

    def observe(
        self, environment: Environment, *, thorough: bool = True, only: Collection[Address] | None = None
    ) -> ObservedState:
        """What is there now of this environment. Writes nothing. thorough=False: a look that is quick whatever the
        environment's size, which may leave out what costs much per instance, unless there is something to do anyway.
        only: what need be looked at; the others may be left out."""

    def session(
        self, environment: Environment, *, materials: Materials, emit: Emit, parallel: int, lock_timeout: float | None
    ) -> AbstractContextManager[Session]:
        """Open the writing side. Raises ConflictError when the lock is not had within lock_timeout seconds (None:
        wait for ever, with a WAITING event that names the holder)."""

    def maintain(self, environment: str) -> None:
        """Start helper processes that died (the supervisor) and drop what nothing needs; harmless to repeat."""

    def forget(self, environment: str) -> None:
        """Remove what is remembered of an environment of which no instance and no network is left (which images were
        made for it); harmless where something is there. Volumes stay."""

    def sweep(self) -> list[str]:
        """Remove what commands that were killed left on the machine, of any environment that is no more; what was
        removed, for people. Harmless at any time."""

    def instances(self, environment: str) -> list[Instance]: ...

    def logs(self, environment: str, query: LogQuery) -> Iterator[LogEntry]: ...

    def exec(self, environment: str, request: ExecRequest) -> int:
        """The process's exit code (128 + N when it died of signal N)."""

    def run(self, environment: Environment, request: RunRequest, *, materials: Materials, emit: Emit) -> int:
        """The one-off's exit code; 0 at once with detach."""

    def attach(
        self, environment: str, address: Address, *, stdin: bool = True, forward_signals: bool = True,
        detach_keys: str = "",
    ) -> int:  # fmt: skip
        """Join a running instance's own stdio until it ends; its exit code, 0 when the detach keys were typed. Raises
        NotFoundError, ConflictError when it is not running, UsageError for keys that cannot be read."""

    def control(
        self, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit, signal: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        """verb: start, stop, restart, kill, pause or unpause, on existing instances. Raises ApplyError."""

    def copy_from(self, environment: str, address: Address, path: str) -> Iterator[bytes]:
        """A tar stream of path inside the instance (its last component is the archive's top)."""

    def copy_to(self, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
        """Unpack a tar stream below the directory path inside the instance."""

    def sync_to(
        self, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
    ) -> None:
        """Carry changed files into an instance (`develop.watch`): take removed away (paths relative to the directory
        target, files or whole trees; absent ones are fine), then unpack a tar stream there; target is made where it is
        missing. It reaches read-only roots, of services whose spec has `synced`. Modes and times are the archive's; a
        file keeps the owner of the one it replaces, a new one gets that of its directory. Raises NotFoundError,
        ConflictError where nothing can be written."""

    def prepare(self) -> None:
        """What a process that will apply again and again calls before it has a second thread."""

    def written(self, environment: str, address: Address) -> list[tuple[str, str]]:
        """("added", "changed" or "deleted"; absolute path) of every file that an instance has written into its own
        layer, which dies with it. Raises NotFoundError."""

    def usage(self, environment: str) -> list[Usage]: ...

    def processes(self, environment: str, services: Sequence[str]) -> dict[str, list[dict[str, str]]]:
        """Address -> rows of `top` (UID, PID, PPID, STIME, TIME, CMD)."""

    def events(self, environment: str, *, since: float | None, follow: bool) -> Iterator[dict[str, str]]:
        """Lifecycle events as flat rows (time, address, event, detail)."""

    def environments(self) -> list[str]:
        """Names of all environments that have something here."""

    def images_in_use(self, environment: str) -> set[str]:
        """Digests of the images that instances of the environment are made from."""

    def volumes(self, environment: str | None = None) -> list[VolumeInfo]: ...

    def volume_data(self) -> VolumeData:
        """Raises UnsupportedError where a backend keeps no snapshots."""

    def remove_volume(self, name: str) -> SnapshotInfo | None:
        """The snapshot that its data became, where `protect` wants one. Raises ConflictError while something uses it or
        `protect` forbids it, NotFoundError when there is none."""
