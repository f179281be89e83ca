"""A backend that keeps everything in dictionaries: for tests, for trying files out, as the port's plainest reading."""
