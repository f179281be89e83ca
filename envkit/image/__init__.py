"""The image store: OCI blobs and unpacked layer trees, archives, capture of layers, the builder. No YAML."""
