"""The machine: processes, mounts, namespaces, links, cgroups, files, locks. Knows nothing of services or images."""
