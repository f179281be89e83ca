"""The record of one service instance: what was applied, kept with the object itself.

A record directory (REC = HOME/environments/ENV/instances/SERVICE.N) is the instance's OCI bundle and conmon's working
directory. `record.json` in it is the truth about what was asked; whether it is so is read from the kernel.

A replica has two places, SERVICE.N and SERVICE.N.b: a start-first replacement makes the successor in the free one, and
nothing is ever renamed, since conmon and bind mounts know the directory by its path.
"""

from __future__ import annotations

import errno
import os
from itertools import pairwise

from envkit.address import Address
from envkit.lean import contextmanager, json, suppress
from envkit.values import field, field_names, struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from envkit.host.home import Home


@struct
class Record:
    """One instance. `home` and `directory` say where it lives and are not written.

    id: 12 hex digits, fresh for every creation: the container's id, cgroup and link suffix. name: `ENV-SERVICE-N` or
    `container_name`. desired: what envkit last asked for, "running" or "stopped". complete: whether the creation was
    seen through. networks: network key -> what `network.attach` returned; network_mode: the resolved mode ("" when it
    has networks). ports: published ports as `publish` keeps them. anonymous: target -> volume name. volumes: names of
    all volumes in use. depends_on: names of the services it needs, for the order of a later `down`. limits: the limits
    in force after the last apply (`memory` -> bytes …), for drift.
    root: the directory that is its `/`; shared_root: whether others have the same. oneoff: made by `envkit run`.
    pending: paths for whose sake an apply is about to restart it (`depends_on.db`), and has not yet.
    turn: above 0: it was made beside the instance whose turn was the one before; until `complete`, that one serves.
    """

    home: Home
    directory: str
    environment: str
    service: str
    replica: int
    id: str
    name: str
    spec: dict[str, Any]
    fingerprint: str
    image: str = ""
    image_digest: str = ""
    generation: int = 0
    complete: bool = False
    desired: str = "running"
    created_at: str = ""
    hostname: str = ""
    stop_signal: str = "SIGTERM"
    stop_grace: float = 10.0
    restart: dict[str, Any] = field(default_factory=lambda: {"policy": "no"})
    healthcheck: dict[str, Any] | None = None
    network_mode: str = ""
    netns: str = ""
    networks: dict[str, Any] = field(default_factory=dict)
    ports: list[Any] = field(default_factory=list)
    anonymous: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    depends_on: list[str] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    root: str = ""
    shared_root: bool = False
    cgroup: str = ""
    log_driver: str = "k8s-file"
    tty: bool = False
    stdin_open: bool = False
    oneoff: bool = False
    turn: int = 0
    pending: list[str] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return Address("service", self.service, max(self.replica, 1))

    @property
    def key(self) -> str:
        """The directory's name: SERVICE.N (or SERVICE.N.b), or SERVICE.run-ID for a one-off."""
        return os.path.basename(self.directory)

    @property
    def is_waiting(self) -> bool:
        """Whether it stands beside the instance that serves, and has not taken over yet."""
        return self.turn > 0 and not self.complete

    def path(self, name: str) -> str:
        """A file of the record directory (`log`, `config.json`, `exits/ID` …)."""
        return f"{self.directory}/{name}"

    @property
    def exit_file(self) -> str:
        return f"{self.directory}/exits/{self.id}"

    def to_json(self) -> dict[str, Any]:
        value = {name: getattr(self, name) for name in _STORED}
        value["address"] = str(self.address)
        return value

    def save(self, *, durable: bool = True) -> None:
        """Write record.json atomically; durable: and have it on the disk before returning."""
        data = json.dumps(self.to_json(), separators=(",", ":")).encode()
        if durable:
            from envkit.host.files import write_atomic

            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            write_atomic(self.path("record.json"), data, 0o600)
            return
        temporary = self.path(f".record.json.{os.getpid()}.{os.urandom(4).hex()}")  # see host.leftovers
        spill(temporary, data)
        os.rename(temporary, self.path("record.json"))


_STORED = tuple(name for name in field_names(Record) if name not in ("home", "directory"))
_OTHER = ".b"
_REQUIRED = ("environment", "service", "replica", "id", "name", "spec", "fingerprint")


def slurp(path: str) -> bytes | None:
    """A small file's content, None when it is absent; at half of open()'s price, which counts for hundreds of them."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.EINVAL and path.startswith("/proc/"):  # mountinfo of a process that is just ending
            return None
        raise
    try:
        data = os.read(descriptor, 65536)
        made_up = path.startswith("/proc/")  # by the page, whatever is asked for
        while (made_up or len(data) % 65536 == 0) and (more := os.read(descriptor, 65536)):
            data += more
        return data
    except ProcessLookupError:  # a file of /proc whose process has just ended
        return None
    finally:
        os.close(descriptor)


def spill(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a small file, its directory too where that is missing. For files that nobody reads yet."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor = os.open(path, flags, mode)
    with open(descriptor, "wb", buffering=0) as file:
        view = memoryview(data)
        try:
            while view:
                view = view[file.write(view) or 0 :]
        except OSError as error:  # write(2) names no file
            error.filename = path
            raise


def directory_of(home: Home, environment: str, service: str, replica: int) -> str:
    return os.path.join(home.instances(environment), f"{service}.{replica}")


def other_place(directory: str) -> str:
    """The other one of a replica's two places."""
    return directory.removesuffix(_OTHER) if directory.endswith(_OTHER) else directory + _OTHER


def place_of(key: str) -> str:
    """SERVICE.N for either place of a replica; any other key as it is."""
    return key.removesuffix(_OTHER)


def new_id() -> str:
    return os.urandom(6).hex()


def decode(home: Home, directory: str, value: Mapping[str, Any]) -> Record:
    """The inverse of to_json(); unknown keys are dropped, absent ones have their defaults."""
    if any(name not in value for name in _REQUIRED):
        return _damaged(home, directory)
    return Record(home, directory, **{name: value[name] for name in _STORED if name in value})


def _damaged(home: Home, directory: str) -> Record:
    """A stand-in for a record that a power cut has torn: incomplete, so that the next plan replaces it."""
    service, _, number = place_of(os.path.basename(directory)).rpartition(".")
    environment = os.path.basename(os.path.dirname(os.path.dirname(directory)))
    replica = int(number) if number.isdigit() else 0
    return Record(home, directory, environment, service, replica, "damaged", service, {}, "", oneoff=replica == 0)


def load(home: Home, directory: str) -> Record | None:
    """The record in directory, None when there is none; an incomplete stand-in for one that cannot be read."""
    data = slurp(f"{directory}/record.json")
    if data is None:
        return None
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    return decode(home, directory, value) if isinstance(value, dict) else _damaged(home, directory)


def load_all(home: Home, environment: str) -> list[Record]:
    """Every record of an environment, one-offs included, by service and number; of two at one address, the one that
    serves comes first."""
    base = home.instances(environment)
    try:
        names = os.listdir(base)
    except (FileNotFoundError, NotADirectoryError):
        return []
    records = [found for name in names if (found := load(home, f"{base}/{name}")) is not None]
    records.sort(key=lambda item: (item.service, item.oneoff, item.replica, *_rank(item)))
    return records


def _rank(record: Record) -> tuple[bool, int]:
    """Whoever is complete serves, the successor before the one whose place it has taken."""
    return not record.complete, -record.turn


def find(home: Home, environment: str, address: Address) -> Record | None:
    """The instance of an address; the one that serves where there are two."""
    first = directory_of(home, environment, address.name, address.index)
    found = [record for place in (first, other_place(first)) if (record := load(home, place)) is not None]
    return min(found, key=_rank) if found else None


def pairs(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """(the one that serves, the one beside it) wherever load_all() has found two instances of one replica."""
    found = []
    for one, other in pairwise(records):
        if not one.oneoff and not other.oneoff and one.address == other.address:
            found.append((one, other))
    return found


def find_named(home: Home, name: str) -> Record | None:
    """The instance with this container name or id in any environment (`network_mode: container:NAME`)."""
    with suppress(FileNotFoundError):
        for environment in sorted(os.listdir(home.environments)):
            for record in load_all(home, environment):
                if name in (record.name, record.id):
                    return record
    return None


@contextmanager
def locked(record: Record) -> Iterator[None]:
    """Hold the instance's own lock: nobody else creates, starts, stops or deletes it meanwhile.

    The lock file lies beside the record directory's content and goes with it; a deleter that holds it is seen by a
    waiter as a directory that has vanished (FileNotFoundError from whatever it does next).
    """
    import fcntl

    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(record.path("lock"), flags, 0o600)
    except FileNotFoundError:
        os.makedirs(record.directory, mode=0o700, exist_ok=True)
        descriptor = os.open(record.path("lock"), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
