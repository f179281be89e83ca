"""What a Swarm does not do."""

from __future__ import annotations

from envkit.backend.features import Declaration, cannot, not_quite

_NODE = "a Swarm gives no such thing to its tasks"
_AWAY = "take it away, or run the service on one engine with `--backend docker`"
_LATER = "the cluster's API does not know it yet"
_HOOK = "a Swarm runs nothing around the life of a task"
_ONE_SHOT = "write a service of its own that others wait for: `condition: service_completed_successfully`"
_UPGRADE = "upgrade the managers to Docker 28"
_LIMIT = "a Swarm keeps limits of memory, CPUs and processes alone"

SWARM = Declaration("swarm", "Swarm", {
    "service.domainname": not_quite("tasks have a host name only", "write the whole name as `hostname:`"),
    "service.container_name": not_quite(
        "tasks are named SERVICE.SLOT.ID", "other services reach it by the service's name"),
    "service.platform": not_quite(
        "nodes of any platform may be chosen", "add a constraint: `node.platform.arch == x86_64`"),
    "service.runtime": not_quite("every node has its own default runtime"),
    "service.annotations": not_quite(_NODE, "use `labels:`"),
    "service.healthcheck.start_interval": not_quite(_LATER, since=(1, 44)),
    "service.pre_start": cannot(_HOOK, _ONE_SHOT),
    "service.post_start": cannot(_HOOK, _ONE_SHOT),
    "service.pre_stop": cannot(_HOOK, "let the program do it on its stop signal"),
    "service.mounts[].create_host_path": not_quite(
        "a bind's source must be there on every node that may run the task: a task is rejected where it is not",
        "make it there, or use a volume", filled_in="nothing"),
    "service.mounts[].recursive": not_quite("the nodes mount it with what is mounted below it"),
    "service.mounts[].selinux": not_quite("label the directory on the nodes"),
    "service.mounts[].subpath": cannot(_LATER, _UPGRADE, since=(1, 45)),
    "service.mounts[].uid": not_quite("a tmpfs has a size and a mode only", "set `mode:`"),
    "service.mounts[].options": not_quite("a tmpfs has a size and a mode only", filled_in="nothing"),
    "service.mounts[].type:image": cannot(_NODE, "copy the files into the service's own image"),
    "service.mounts[].nosuid": not_quite("the nodes mount it without these flags", filled_in="nothing"),
    "service.volumes_from": cannot("tasks may be on different nodes", "name the volumes in both services"),
    "service.devices": cannot(_NODE, "advertise it on its nodes and reserve it: `generic_resources`"),
    "service.device_cgroup_rules": cannot(_NODE, _AWAY),
    "service.gpus": not_quite("graphics processors are reserved as `generic_resources`; the service runs without"),
    "service.storage_opt": not_quite("a task's own layer is not limited in size"),
    "service.networks.*.ipv4_address": cannot(
        "the managers choose the addresses of tasks", "use names: they are resolved in every network"),
    "service.networks.*.link_local_ips": not_quite(_NODE),
    "service.networks.*.mac_address": not_quite("the managers choose the addresses of tasks"),
    "service.networks.*.interface_name": not_quite(_NODE),
    "service.networks.*.priority": not_quite("the nodes choose the order of a task's networks"),
    "service.networks.*.gw_priority": not_quite("the nodes choose the order of a task's networks"),
    "service.network_mode:none": cannot("there is no service without a network", "join an `internal` network"),
    "service.network_mode:bridge": cannot("tasks may be on different nodes", "leave it out: networks are overlays"),
    "service.network_mode:shared": cannot("tasks may be on different nodes", "join the same network"),
    "service.ports[].host_ip": cannot(
        "a port is published on all addresses of the nodes",
        'write "0.0.0.0:PUBLISHED:TARGET" where that is meant, in the target\'s overrides for instance'),
    "service.ports[].published": cannot("one port is published for all tasks", "name one port, or none for any"),
    "service.links": cannot("names are those of networks", "give the other service `aliases` in the network"),
    "service.external_links": cannot("containers of the nodes are out of reach", "join an external network"),
    "service.extra_hosts.*": not_quite("the address is the one that each node has for its bridge"),
    "service.mac_address": not_quite("the managers choose the addresses of tasks"),
    "service.privileged": cannot(_NODE, "add the capabilities that it needs: `cap_add`"),
    "service.no_new_privileges": not_quite(_LATER, _UPGRADE, since=(1, 46), filled_in="one line"),
    "service.seccomp": cannot(_LATER, _UPGRADE, since=(1, 46)),
    "service.security_opt": not_quite(_LATER, _UPGRADE, since=(1, 46)),
    "service.pid": cannot(_NODE, _AWAY),
    "service.ipc": cannot(_NODE, "`shm_size` makes /dev/shm larger"),
    "service.uts": cannot(_NODE, "`hostname` names it"),
    "service.cgroup": not_quite(_NODE),
    "service.userns_mode:host": cannot(_NODE, "set it for the nodes' engines"),
    "service.userns_mode:other": cannot(_NODE, "set it for the nodes' engines"),
    "service.cgroup_parent": not_quite(_NODE),
    "service.limits.memory_swap": not_quite(_LIMIT),
    "service.limits.memory_swappiness": not_quite(_LIMIT),
    "service.limits.cpu_shares": not_quite(_LIMIT),
    "service.limits.cpu_rt_runtime": not_quite(_LIMIT),
    "service.limits.cpuset": not_quite(_LIMIT),
    "service.limits.blkio": not_quite(_LIMIT),
    "service.limits.oom_kill_disable": not_quite(_LIMIT),
    "service.reservations.devices": not_quite("devices are reserved as `generic_resources`; the service runs without"),
    "service.oom_score_adj": not_quite(_LATER, _UPGRADE, since=(1, 46)),
    "network.driver": cannot("only overlay networks reach all nodes", "leave `driver:` out"),
    "network.driver:macvlan": cannot("only overlay networks reach all nodes", "leave `driver:` out"),
    "network.enable_ipv4": not_quite(_LATER, _UPGRADE, since=(1, 47)),
    "volume.protect": not_quite("the data is on the nodes, of which no snapshot is taken"),
})  # fmt: skip
