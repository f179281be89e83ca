"""A Dockerfile carried out: one more frontend of the layer executor, its sandbox, its cache and its store."""
