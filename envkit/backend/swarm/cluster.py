"""A cluster: its manager's engine, those of its nodes as far as they can be reached, and what is asked of them."""

from __future__ import annotations

import os

from envkit.backend.engine_api import Engine, EngineCutError, EngineError, EngineUnreachableError
from envkit.backend.place import engine_address, node_addresses
from envkit.errors import EnvkitError, UnsupportedError
from envkit.lean import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

ENVIRONMENT = "envkit.environment"
_LOST = ("does not have a leader", "DeadlineExceeded", "context deadline exceeded", "lost quorum", "no leader")
_PATIENCE = 75.0
"""Seconds for an answer: a manager without a majority takes 40 of them to say so."""
_STALE = "update out of sequence"


class QuorumError(EnvkitError):
    """The managers that this one can reach are no majority, so nothing can be read or changed."""

    def __init__(self, where: str, said: str) -> None:
        super().__init__(
            "The Swarm has no majority of its managers", f"{where}: {said}",
            "start the other managers, or mend the network between them; where they are lost for good, `docker swarm "
            "init --force-new-cluster` on one that is left makes it the only one",
        )  # fmt: skip


class Cluster:
    """place: the settings of the target ({}: where the docker command would go). Asks nothing until it must."""

    def __init__(self, place: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> None:
        self.place = place
        self._environ = os.environ if environ is None else environ

    @cached_property
    def manager(self) -> Engine:
        return Engine(engine_address(self.place, self._environ))

    @property
    def registry(self) -> str:
        """Where images are pushed to, "" for nowhere."""
        return str(self.place.get("registry") or "").rstrip("/")

    # -- asking the managers

    def get(self, path: str, **query: Any) -> Any:
        """Raises QuorumError, and what Engine.get does."""
        return self.ask("GET", path, **query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self.ask("POST", path, body, **query)

    def delete(self, path: str) -> None:
        """Remove an object; absent is fine."""
        try:
            self.ask("DELETE", path)
        except EngineError as error:
            if error.status != 404:
                raise

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        engine = self.manager
        try:
            match method:
                case "GET":
                    return engine.get(path, timeout=_PATIENCE, **query)
                case "DELETE":
                    return engine.delete(path, timeout=_PATIENCE)
            return engine.post(path, body, timeout=_PATIENCE, **query)
        except EngineError as error:
            if any(words in error.message for words in _LOST):
                raise QuorumError(str(engine.address), error.message) from error
            if error.status in (406, 503) or "not a swarm manager" in error.message:
                self.check()
            raise
        except EngineCutError as error:
            if "does not answer" in error.summary:
                self._blame_quorum(error)
            raise

    def _blame_quorum(self, error: EngineCutError) -> None:
        """Raise QuorumError when the engine itself lives: then it is the managers that do not answer."""
        try:
            self.manager.get("/_ping", timeout=5)
        except EnvkitError:
            return
        raise QuorumError(str(self.manager.address), "the engine lives, and the managers do not answer") from error

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """`Swarm` of GET /info, asked once."""
        found: Mapping[str, Any] = self.manager.get("/info", timeout=_PATIENCE).get("Swarm") or {}
        return found

    def check(self) -> None:
        """Raise UnsupportedError for an engine that is in no Swarm or is no manager, QuorumError for a minority."""
        where = str(self.manager.address)
        if self.info.get("LocalNodeState") in ("inactive", "", None):
            raise UnsupportedError(
                "The engine is in no Swarm", where, "`docker swarm init` makes one of it, `docker swarm join` adds it"
            )
        if not self.info.get("ControlAvailable"):
            if error := str(self.info.get("Error") or ""):
                raise QuorumError(where, error)
            managers = [str(item.get("Addr") or "").partition(":")[0] for item in self.info.get("RemoteManagers") or ()]
            raise UnsupportedError(
                "The engine is no manager of its Swarm", where,
                f"name a manager ({', '.join(managers)})" if managers else "name a manager",
            )  # fmt: skip

    # -- what there is

    def services(self, environment: str | None = None) -> list[dict[str, Any]]:
        """Those of an environment, or all that are envkit's."""
        found: list[dict[str, Any]] = self.get("/services", filters={"label": [_label(environment)]})
        return found

    def tasks(self, services: Sequence[str]) -> list[dict[str, Any]]:
        """The tasks of services (by id), in the order of their making."""
        if not services:
            return []
        found: list[dict[str, Any]] = self.get("/tasks", filters={"service": list(services)})
        return sorted(found, key=lambda task: str(task.get("CreatedAt")))

    def tasks_named(self, service: str) -> list[dict[str, Any]]:
        """The tasks that are left of a service that need not be there any more (a task is called SERVICE.SLOT.ID)."""
        found: list[dict[str, Any]] = self.get("/tasks", filters={"name": [f"{service}."]})
        return found

    def networks(self, environment: str | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.get("/networks", filters={"label": [_label(environment)]})
        return [row for row in rows if row.get("Scope") == "swarm"]

    def materials(self, kind: str, environment: str) -> list[dict[str, Any]]:
        """Secrets or configs (kind) of an environment."""
        found: list[dict[str, Any]] = self.get(f"/{kind}s", filters={"label": [_label(environment)]})
        return found

    def nodes(self) -> dict[str, dict[str, Any]]:
        """By id."""
        return {row["ID"]: row for row in self.get("/nodes")}

    # -- the nodes' own engines

    @cached_property
    def engines(self) -> Mapping[str, Engine]:
        """Node id -> its engine, the manager's first. Those that do not answer are in `unreachable`."""
        found = {str(self.info.get("NodeID")): self.manager}
        self.unreachable: list[tuple[str, EnvkitError]] = []
        cluster = (self.info.get("Cluster") or {}).get("ID")
        for address in node_addresses(self.place, self._environ):
            engine = Engine(address)
            try:
                about = engine.get("/info", timeout=15).get("Swarm") or {}
            except EnvkitError as error:
                self.unreachable.append((str(address), error))
                continue
            theirs = (about.get("Cluster") or {}).get("ID")
            if not about.get("NodeID") or (theirs and cluster and theirs != cluster):
                why = EngineUnreachableError("An engine is in another Swarm, or in none", str(address), "see `nodes:`")
                self.unreachable.append((str(address), why))
                continue
            found[str(about["NodeID"])] = engine
        return found

    def engine_of(self, node: str, what: str) -> Engine:
        """The engine of a node. Raises UnsupportedError naming it where its address is not known. what: for whom."""
        if node in self.engines:
            return self.engines[node]
        row = self.nodes().get(node) or {}
        name = (row.get("Description") or {}).get("Hostname") or node
        address = (row.get("Status") or {}).get("Addr") or "ADDRESS"
        failed = "; ".join(f"{where} did not answer: {error}" for where, error in self.unreachable)
        raise UnsupportedError(
            "The engine of a node cannot be reached", f"{what} is on {name}" + (f"; {failed}" if failed else ""),
            f'name it in the target: `nodes: ["ssh://{address}"]`',
        )  # fmt: skip

    def host_names(self) -> dict[str, str]:
        """Node id -> host name."""
        return {key: str((row.get("Description") or {}).get("Hostname") or key) for key, row in self.nodes().items()}

    @cached_property
    def has_ipvs(self) -> bool:
        """Whether nodes can balance load for VIPs and the ingress network. Asked of this machine's kernel, which is
        the manager's where that is local; elsewhere it is taken for granted, as every distribution's kernel can."""
        if not self.manager.address.is_local:
            return True
        if os.path.exists("/proc/net/ip_vs") or os.path.exists("/sys/module/ip_vs"):
            return True
        modules = f"/lib/modules/{os.uname().release}"
        return os.path.exists(f"{modules}/kernel/net/netfilter/ipvs") or _is_built_in(modules)


def is_stale(error: EngineError) -> bool:
    """Whether somebody has changed the object since it was read."""
    return _STALE in error.message


def _is_built_in(modules: str) -> bool:
    try:
        with open(f"{modules}/modules.builtin", encoding="utf-8") as file:
            return any("/ip_vs.ko" in line for line in file)
    except OSError:
        return False


def _label(environment: str | None) -> str:
    return ENVIRONMENT if environment is None else f"{ENVIRONMENT}={environment}"
