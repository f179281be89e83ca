"""The Compose model: every key of every section with its kind, in the order in which Compose prints them.

Order and kinds were read off docker-compose v5.6.1's own output; they make `config --hash` equal to Compose's.
"""

from __future__ import annotations

from envkit.config.bind import Fields, capitals, items, struct, table
from envkit.config.kinds import (
    bits,
    command,
    count,
    device_count,
    duration,
    environment,
    flag,
    health_test,
    hosts,
    mapping,
    mode,
    multi_options,
    natural,
    natural_or_none,
    number,
    pause,
    size,
    ssh,
    strings,
    text,
    tristate,
    true_by_default,
    ulimit,
    whole,
)

_FILE_MOUNT = items(struct({"source": text, "target": text, "uid": text, "gid": text, "mode": mode}))
_ULIMITS = table(ulimit)
_HOOKS = items(
    struct({
        "command": command, "user": text, "privileged": flag, "working_dir": text, "environment": environment,
        "per_replica": flag, "image": text,
    }, always=("command",))
)  # fmt: skip

BUILD: Fields = {
    "context": text, "dockerfile": text, "dockerfile_inline": text, "entitlements": strings, "args": environment,
    "provenance": text, "sbom": text, "ssh": ssh, "labels": mapping, "cache_from": strings, "cache_to": strings,
    "no_cache": flag, "no_cache_filter": strings, "additional_contexts": mapping, "pull": flag, "extra_hosts": hosts,
    "isolation": text, "network": text, "target": text, "secrets": _FILE_MOUNT, "shm_size": size, "tags": strings,
    "ulimits": _ULIMITS, "platforms": strings, "privileged": flag,
}  # fmt: skip

_DEVICE_REQUESTS = items(
    struct({"capabilities": strings, "driver": text, "count": device_count, "device_ids": strings, "options": mapping})
)
_UPDATE = struct({
    "parallelism": natural, "delay": pause, "failure_action": text, "monitor": pause, "max_failure_ratio": number,
    "order": text,
})  # fmt: skip
_RESOURCE = struct({
    "cpus": number, "memory": size, "pids": count, "devices": _DEVICE_REQUESTS,
    "generic_resources": items(struct({"discrete_resource_spec": struct({"kind": text, "value": whole})})),
})  # fmt: skip

DEPLOY: Fields = {
    "mode": text, "replicas": whole, "labels": mapping, "update_config": _UPDATE, "rollback_config": _UPDATE,
    "resources": struct({"limits": _RESOURCE, "reservations": _RESOURCE}),
    "restart_policy": struct({"condition": text, "delay": duration, "max_attempts": natural, "window": duration}),
    "placement": struct({
        "constraints": strings, "preferences": items(struct({"spread": text})),
        "max_replicas_per_node": natural_or_none,
    }),
    "endpoint_mode": text,
}  # fmt: skip

_WATCH = struct({
    "path": text, "action": text, "target": text,
    "exec": struct({
        "command": command, "user": text, "privileged": flag, "working_dir": text, "environment": environment,
    }, always=("command",)),
    "include": strings, "ignore": strings, "initial_sync": flag,
}, always=("exec",))  # fmt: skip

# Compose prints these keys with capitals, as its structs have no JSON names.
_WEIGHTS = items(capitals(struct({"path": text, "weight": bits(16)}), path="", weight=0))
_RATES = items(capitals(struct({"path": text, "rate": size}), path="", rate="0"))

NETWORK: Fields = {
    "aliases": strings, "driver_opts": mapping, "gw_priority": count, "interface_name": text, "ipv4_address": text,
    "ipv6_address": text, "link_local_ips": strings, "mac_address": text, "priority": count,
}  # fmt: skip

VOLUME: Fields = {
    "type": text, "source": text, "target": text, "read_only": flag, "consistency": text,
    "bind": struct({
        "selinux": text, "propagation": text, "create_host_path": true_by_default, "recursive": text,
    }),
    "volume": struct({"labels": mapping, "nocopy": flag, "subpath": text}),
    "tmpfs": struct({"size": size, "mode": bits(32, natural_or_none)}), "image": struct({"subpath": text}),
}  # fmt: skip

CONTAINER: Fields = {
    "annotations": mapping,
    "blkio_config": struct({
        "weight": bits(16, natural_or_none), "weight_device": _WEIGHTS, "device_read_bps": _RATES,
        "device_read_iops": _RATES,
        "device_write_bps": _RATES, "device_write_iops": _RATES,
    }),
    "cap_add": strings, "cap_drop": strings, "cgroup_parent": text, "cgroup": text, "cpu_count": count,
    "cpu_percent": number, "cpu_period": count, "cpu_quota": count, "cpu_rt_period": count, "cpu_rt_runtime": count,
    "cpus": number, "cpuset": text, "cpu_shares": count, "command": command, "configs": _FILE_MOUNT,
    "credential_spec": struct({"config": text, "file": text, "registry": text}), "device_cgroup_rules": strings,
    "devices": items(struct({"source": text, "target": text, "permissions": text})), "dns": strings,
    "dns_opt": strings, "dns_search": strings, "domainname": text, "entrypoint": command, "environment": environment,
    "env_file": items(struct({"path": text, "required": true_by_default, "format": text})), "extra_hosts": hosts,
    "group_add": strings, "gpus": _DEVICE_REQUESTS, "hostname": text, "image": text, "init": tristate, "ipc": text,
    "isolation": text, "labels": mapping, "label_file": strings,
    "logging": struct({"driver": text, "options": mapping}), "mem_limit": size, "mem_reservation": size,
    "memswap_limit": size, "mem_swappiness": size, "mac_address": text,
    "models": table(struct({"endpoint_var": text, "model_var": text}), null=True), "network_mode": text,
    "networks": table(struct(NETWORK), null=True), "oom_kill_disable": flag, "oom_score_adj": count, "pid": text,
    "pids_limit": count, "platform": text, "privileged": flag, "pull_policy": text, "pull_refresh_after": text,
    "read_only": flag,
    "runtime": text, "secrets": _FILE_MOUNT, "security_opt": strings, "shm_size": size,
    "stop_grace_period": duration, "stop_signal": text, "storage_opt": mapping, "sysctls": mapping,
    "tmpfs": strings, "ulimits": _ULIMITS, "use_api_socket": flag, "user": text, "userns_mode": text, "uts": text,
    "volume_driver": text, "volumes": items(struct(VOLUME)), "volumes_from": strings, "working_dir": text,
}  # fmt: skip

INHERITED_BY_HOOKS = frozenset(CONTAINER) - {"volumes"}

SERVICE: Fields = {
    "profiles": strings, "deploy": struct(DEPLOY, always=("resources", "placement")),
    "develop": struct({"watch": items(_WATCH)}), "restart": text, "scale": whole, "attach": tristate,
    "container_name": text, "provider": struct({"type": text, "options": multi_options}), "external_links": strings,
    "extends": struct({"file": text, "service": text}), "links": strings,
    "pre_start": items(struct({**CONTAINER, "per_replica": flag}, always=("command", "entrypoint"))),
    "post_start": _HOOKS, "pre_stop": _HOOKS, **CONTAINER, "build": struct(BUILD),
    "depends_on": table(struct({"condition": text, "restart": flag, "required": tristate})), "expose": strings,
    "healthcheck": struct({
        "test": health_test, "timeout": duration, "interval": duration, "retries": natural, "start_period": duration,
        "start_interval": duration, "disable": flag,
    }),
    "ports": items(struct({
        "name": text, "mode": text, "host_ip": text, "target": bits(32, natural_or_none), "published": text,
        "protocol": text,
        "app_protocol": text,
    })),
    "stdin_open": flag, "tty": flag,
}  # fmt: skip

JOB: Fields = {"triggers": struct({"schedule": text, "manual": flag}), **CONTAINER}

_FILE_OBJECT: Fields = {
    "name": text, "file": text, "environment": text, "content": text, "external": flag, "labels": mapping,
    "driver": text, "driver_opts": mapping, "template_driver": text,
}  # fmt: skip

DOCUMENT: Fields = {
    "models": table(struct({"name": text, "model": text, "context_size": count, "runtime_flags": strings})),
    "name": text,
    "services": table(struct(SERVICE, always=("command", "entrypoint"))),
    "jobs": table(struct(JOB, always=("command", "entrypoint"))),
    "networks": table(struct({
        "name": text, "driver": text, "driver_opts": mapping,
        "ipam": struct({
            "driver": text,
            "config": items(struct({
                "subnet": text, "gateway": text, "ip_range": text, "aux_addresses": mapping,
            })),
            "options": mapping,
        }),
        "external": flag, "internal": flag, "attachable": flag, "labels": mapping, "enable_ipv4": tristate,
        "enable_ipv6": tristate,
    }, always=("ipam",))),
    "volumes": table(struct({
        "name": text, "driver": text, "driver_opts": mapping, "external": flag, "labels": mapping,
    })),
    "secrets": table(struct(_FILE_OBJECT)),
    "configs": table(struct(_FILE_OBJECT)),
}  # fmt: skip
