"""Desired state. `canonical` and `environment` are plain data (standard library); `model` is the pydantic vocabulary of
the YAML, imported only where the schema or the library API is needed."""
