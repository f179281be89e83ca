"""One service of the model -> its canonical spec: process, health, restart, rollout, hooks and dependencies.

Facts about defaults: Compose Specification 05-services.md and deploy.md; what Docker does where they are silent.
"""

from __future__ import annotations

from collections.abc import Mapping

from envkit.address import Address
from envkit.config.checks import check_signal
from envkit.config.compile_isolation import put_isolation
from envkit.config.compile_mounts import put_files
from envkit.config.compile_network import put_network
from envkit.config.draft import Draft, Scope
from envkit.config.quantities import is_true, seconds
from envkit.config.suggest import did_you_mean
from envkit.spec.environment import Condition, Dependency, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COPIED = ("working_dir", "hostname", "domainname", "container_name", "platform", "runtime")
_CONDITIONS: dict[str, Condition] = {
    "service_started": "started", "service_healthy": "healthy", "service_completed_successfully": "completed",
}  # fmt: skip
_RESTART = {"none": "no", "any": "always", "": "always"}
_POLICIES = ("no", "always", "unless-stopped", "on-failure")
_UNSUPPORTED = {
    "cpu_count": "it exists on Windows only",
    "cpu_percent": "it exists on Windows only",
    "isolation": "it exists on Windows only",
    "credential_spec": "it exists on Windows only",
    "models": "envkit runs no models; give the endpoint with `environment:`",
    "use_api_socket": "there is no engine with a socket; mount one with `volumes:` where it exists",
}


def compile_service(
    scope: Scope, name: str, image: str, images: Mapping[str, Resource], digests: Mapping[Address, str]
) -> Resource:
    """The Resource of services.NAME. image: the ImageSpec.name it runs; images: by the reference that is written, for
    the service itself, its hooks and its mounts; digests: those of secrets and configs, by address."""
    service: Mapping[str, Any] = scope.section("services")[name]
    draft = Draft(scope, Address("service", name), f"services.{name}")
    draft.spec["image"] = image
    draft.came_from("image", "image" if "image" in service else "build")
    _put_process(draft, service)
    _put_lifecycle(draft, service)
    _put_deploy(draft, service.get("deploy") or {}, service)
    put_files(draft, service, images)
    put_network(draft, service)
    put_isolation(draft, service)
    if scope.model.hardened:
        from envkit.config.hardened import harden

        harden(draft, service)
    _put_synced(draft, service)
    draft.place_mounts()
    _put_hooks(draft, service, images)
    for key, why in _UNSUPPORTED.items():
        if service.get(key):
            scope.warning("not-honoured", "A key has no effect", f"{draft.path(key)} is not honoured: {why}",
                          draft.path(key), "take it away")  # fmt: skip
    _put_dependencies(draft, service, images)
    for kind in ("secret", "config"):
        used = {item["source"]: Address(kind, item["source"]) for item in draft.spec.get(f"{kind}s") or ()}
        known = {source: digests[address] for source, address in used.items() if address in digests}
        draft.put(f"{kind}_digests", known or None, f"{kind}s")
    return draft.make()


def _put_synced(draft: Draft, service: Mapping[str, Any]) -> None:
    rules = (service.get("develop") or {}).get("watch") or ()
    syncs = any(str(rule.get("action") or "").startswith("sync") for rule in rules)
    draft.put("synced", True if syncs and draft.spec.get("read_only") else None, "develop.watch")


def _put_process(draft: Draft, service: Mapping[str, Any]) -> None:
    entrypoint, command = service.get("entrypoint"), service.get("command")
    draft.put("entrypoint", entrypoint)
    # An empty list counts as absent beside the image's entrypoint; one's own entrypoint drops the image's command.
    draft.put("command", command or ([] if entrypoint else None))
    draft.put("environment", service.get("environment") or None)
    for key in _COPIED:
        draft.put(key, service.get(key) or None)
    draft.put("user", str(service["user"]) if service.get("user") else None)
    draft.put("group_add", sorted({str(item) for item in service.get("group_add") or ()}) or None)
    for key in ("tty", "stdin_open", "init"):
        draft.put(key, True if is_true(service.get(key)) else None)
    draft.put("attach", False if service.get("attach") is False else None)
    for key in ("labels", "annotations"):
        draft.put(key, service.get(key) or None)
    if logging := service.get("logging"):
        options = {key: str(value) for key, value in (logging.get("options") or {}).items() if value is not None}
        driver = logging.get("driver") or "json-file"
        if options or driver != "json-file":
            draft.put("logging", {"driver": driver, **({"options": options} if options else {})})


def _put_lifecycle(draft: Draft, service: Mapping[str, Any]) -> None:
    if signal := service.get("stop_signal"):
        draft.put("stop_signal", signal_name(draft.scope, str(signal), draft.path("stop_signal")))
    grace = draft.read(seconds, service.get("stop_grace_period"), "stop_grace_period")
    draft.put("stop_grace_period", None if grace == 10 else grace)
    draft.put("healthcheck", healthcheck(draft.scope, service.get("healthcheck") or {}, draft.path("healthcheck")))
    policy = (service.get("deploy") or {}).get("restart_policy")
    source = "restart" if policy is None else "deploy.restart_policy"
    draft.put("restart", _restart(draft, service.get("restart") or "", policy), source)


def signal_name(scope: Scope, text: str, path: str) -> str:
    """`int` -> SIGINT; numbers stay."""
    upper = text.upper()
    name = upper if upper.isdigit() or upper.startswith("SIG") else f"SIG{upper}"
    check_signal(scope, name, path)
    return name


def healthcheck(scope: Scope, check: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """HealthcheckSpec, None when nothing is written."""
    if is_true(check.get("disable")):
        return {"test": ["NONE"]}
    made: dict[str, Any] = {}
    test = check.get("test")
    if isinstance(test, str):
        test = ["CMD-SHELL", test]
    if test:
        if test[0] not in ("CMD", "CMD-SHELL", "NONE"):
            scope.error("invalid-value", "A value is not valid", f"{path}.test begins with {test[0]!r}", f"{path}.test",
                        f"begin the list with CMD: [CMD, {', '.join(test)}]")  # fmt: skip
        made["test"] = list(test)
    for key in ("interval", "timeout", "start_period", "start_interval"):
        if (value := scope.read(seconds, check.get(key), f"{path}.{key}")) is not None:
            made[key] = value
    if check.get("retries"):
        made["retries"] = int(check["retries"])
    return made or None


def _restart(draft: Draft, text: str, policy: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """RestartSpec; deploy.restart_policy wins over restart, as in Compose."""
    made: dict[str, Any] = {}
    if policy is not None:
        condition = str(policy.get("condition") or "")
        made["policy"] = _RESTART.get(condition, condition)
        made["max_attempts"] = policy.get("max_attempts")
        for key in ("delay", "window"):
            made[key] = draft.read(seconds, policy.get(key), f"deploy.restart_policy.{key}")
        at = "deploy.restart_policy.condition"
    else:
        made["policy"], _, attempts = text.partition(":")
        if not text:
            return None
        made["max_attempts"] = draft.read(int, attempts or None, "restart")
        at = "restart"
    if made["policy"] not in _POLICIES:
        known = _POLICIES if policy is None else ("none", "on-failure", "any")
        hint = did_you_mean(made["policy"], known) or f"write one of {', '.join(known)}"
        draft.scope.error("invalid-value", "A value is not valid", f"{draft.path(at)} is {made['policy']!r}, which is "
                          "no restart policy", draft.path(at), hint)  # fmt: skip
    if made["policy"] == "no":
        return None
    return {key: value for key, value in made.items() if value is not None and value != ""}


def _put_hooks(draft: Draft, service: Mapping[str, Any], images: Mapping[str, Resource]) -> None:
    """Last, for a `pre_start` hook says only what is not as in its service."""
    for kind in ("post_start", "pre_stop"):
        hooks = [_hook(draft, hook, f"{kind}[{index}]") for index, hook in enumerate(service.get(kind) or ())]
        draft.put(kind, hooks or None)
    made = [_container(draft, hook, f"pre_start[{index}]", service, images)
            for index, hook in enumerate(service.get("pre_start") or ())]  # fmt: skip
    draft.put("pre_start", made or None)


def _hook(draft: Draft, hook: Mapping[str, Any], below: str) -> dict[str, Any]:
    """HookSpec of a command in the running container."""
    made: dict[str, Any] = {"command": list(hook.get("command") or ())}
    for key in ("user", "working_dir", "environment"):
        if hook.get(key):
            made[key] = hook[key]
    if is_true(hook.get("privileged")):
        made["privileged"] = True
    if not made["command"]:
        draft.scope.error("missing-key", "A key is missing", f"{draft.path(below)} has no command", draft.path(below),
                          "add `command:`")  # fmt: skip
    return made


def _container(
    draft: Draft, hook: Mapping[str, Any], below: str, service: Mapping[str, Any], images: Mapping[str, Resource]
) -> dict[str, Any]:
    """HookSpec of a container of its own: what it has not from its service, whose keys but for `volumes` the model has
    written into it already."""
    own = Draft(draft.scope, draft.address, draft.path(below))
    _put_process(own, hook)
    put_files(own, hook, images)
    put_network(own, hook)
    put_isolation(own, hook)
    own.place_mounts()
    made = {key: value for key, value in own.spec.items() if draft.spec.get(key) != value and key != "ports"}
    made["command"] = list(hook.get("command") or ())
    if hook.get("image") and hook["image"] != service.get("image"):
        image = images[hook["image"]]
        made["image"] = image.spec["name"]
        draft.needs(Dependency(image.address))
    if is_true(hook.get("per_replica")):
        made["per_replica"] = True
    for dependency in own.depends_on.values():
        draft.needs(dependency)
    return made


def _put_deploy(draft: Draft, deploy: Mapping[str, Any], service: Mapping[str, Any]) -> None:
    replicas, source = service.get("scale"), "scale"
    if deploy.get("replicas") is not None:
        replicas, source = deploy["replicas"], "deploy.replicas"
    draft.put("replicas", None if replicas is None or int(replicas) == 1 else int(replicas), source)
    mode = deploy.get("mode")
    draft.put("mode", None if mode == "replicated" else mode, "deploy.mode")
    for name, key in (("update", "update_config"), ("rollback", "rollback_config")):
        draft.put(name, _rollout(draft, deploy.get(key) or {}, f"deploy.{key}") or None, f"deploy.{key}")
    draft.put("placement", deploy.get("placement") or None, "deploy.placement")
    draft.put("endpoint_mode", deploy.get("endpoint_mode"), "deploy.endpoint_mode")
    draft.put("deploy_labels", deploy.get("labels") or None, "deploy.labels")


def _rollout(draft: Draft, config: Mapping[str, Any], below: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in config.items():
        if key in ("delay", "monitor"):
            made[key] = draft.read(seconds, value, f"{below}.{key}")
        elif not key.startswith("x-"):
            made[key] = value
    return made


def _put_dependencies(draft: Draft, service: Mapping[str, Any], images: Mapping[str, Resource]) -> None:
    draft.needs(Dependency(images[draft.spec["image"]].address))
    for kind in ("secret", "config"):
        for item in draft.spec.get(f"{kind}s") or ():
            draft.needs(Dependency(Address(kind, item["source"])))
    for name, item in (service.get("depends_on") or {}).items():
        draft.needs(Dependency(
            Address("service", name), _CONDITIONS.get(item.get("condition") or "service_started", "started"),
            item.get("required") is not False, is_true(item.get("restart")),
        ))  # fmt: skip
    for name in _implied(service):
        if name in draft.scope.section("services"):
            draft.needs(Dependency(Address("service", name), "started", restart=True))


def _implied(service: Mapping[str, Any]) -> list[str]:
    """The services whose container must exist first: links, shared volumes and shared namespaces."""
    found = [str(link).partition(":")[0] for link in service.get("links") or ()]
    found += [str(item).partition(":")[0] for item in service.get("volumes_from") or ()
              if not str(item).startswith("container:")]  # fmt: skip
    for key in ("network_mode", "ipc", "pid"):
        kind, _, name = str(service.get(key) or "").partition(":")
        if kind == "service":
            found.append(name)
    return found
